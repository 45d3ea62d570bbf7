"""Reads a tag request from a form, a JSON body or raw image bytes, and from the query."""

import asyncio
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TypeVar

from anyio import to_thread
from starlette.datastructures import UploadFile
from starlette.requests import Request

from sigrl.model.vocabulary import MAX_LABELS, Vocabulary
from sigrl.service.batching.threads import in_database_thread
from sigrl.service.errors import (
    ContentTypeError,
    ImageError,
    InvalidLabelsError,
    ParameterError,
    RequestError,
    UrlInputOffError,
    VocabularyNotFoundError,
)
from sigrl.service.http.content import JSON, accepted_languages, accepts, media_type, read_json_as
from sigrl.service.http.forms import FORM, read_form
from sigrl.service.http.tag_body import HINT, JsonImage, TagBody
from sigrl.service.images.url_input import Budget, UrlFetcher
from sigrl.service.settings import Settings
from sigrl.service.tagging.selection import ANY_LANGUAGE, THRESHOLDS, Selection
from sigrl.service.vocabularies import builtin as vocabularies
from sigrl.service.vocabularies.registry import VocabularyRegistry

Number = TypeVar("Number", int, float)

NDJSON = "application/x-ndjson"
PARAMETERS = ("url", "labels", "vocabulary", "language", "top_k", *THRESHOLDS, "checkpoint")
MAX_VOCABULARIES = 16
"""Maximum number of vocabularies in one request."""

_CURL = "send it as `curl -F image=@photo.jpg`, or raw with `-H 'Content-Type: image/jpeg' --data-binary`"


@dataclass(frozen=True)
class Upload:
    """A photograph as the client sent it."""

    data: bytes | ImageError
    """The file, or the error that explains why it could not be fetched."""
    filename: str | None = None
    url: str | None = None
    """The URL it is fetched from; None if the client sent the file."""


@dataclass(frozen=True)
class TagRequest:
    """A parsed tag request."""

    uploads: tuple[Upload, ...]
    vocabularies: tuple[Vocabulary, ...]
    """The vocabularies to look for, each scored independently; empty for the service's own vocabulary."""
    selection: Selection
    names_labels: bool = False
    """Whether the vocabulary is a list of labels in the client's own words."""
    checkpoint: str | None = None
    """Id, or a prefix of the id, of the checkpoint that answers; None for the active one."""
    idempotency_key: str | None = None
    """The header Idempotency-Key, as sent."""
    ndjson: bool = False
    """Whether the answer is sent as NDJSON, one line per photograph."""

    def fingerprint(self) -> str:
        """A hash that is equal for requests with the same content. A form's bytes cannot be hashed
        directly, because its boundary is random."""
        digest = hashlib.sha256()
        for upload in self.uploads:
            # A photograph that could not be fetched is identified by its URL.
            data = upload.data if isinstance(upload.data, bytes) else (upload.url or "").encode()
            digest.update(hashlib.sha256(data).digest())
        labels = [(each.name, each.content_hash, each.calibration) for each in self.vocabularies]
        names = [upload.filename for upload in self.uploads]
        others = asdict(self.selection), self.checkpoint, self.ndjson
        digest.update(json.dumps([names, labels, *others]).encode())
        return digest.hexdigest()


async def read_tag_request(
    request: Request, settings: Settings, registry: VocabularyRegistry, fetcher: UrlFetcher | None
) -> TagRequest:
    """Reads the body and the parameters. Parameters may be in the body or in the query. Photographs given by
    URL are fetched with `fetcher`.

    Raises ContentTypeError, InvalidLabelsError, ParameterError, RequestError, RequestTooLargeError,
    StorageFullError, StoreError and UrlInputOffError.
    """
    content_type = media_type(request)
    parameters = list(request.query_params.multi_items())
    if content_type == FORM:
        most_fields = MAX_LABELS + len(PARAMETERS)
        async with read_form(request, settings.max_images, most_fields, _CURL) as form:
            uploads, fields = await _of_form(form)
        parameters += fields
    elif content_type == JSON:
        body = await read_json_as(request, TagBody, HINT)
        uploads = await to_thread.run_sync(_of_json, body.images)
        parameters += body.parameters()
    elif content_type.startswith("image/") or content_type in ("application/octet-stream", ""):
        content = await request.body()
        # An empty body next to a URL is not a photograph.
        is_empty = not content and any(name == "url" for name, _ in parameters)
        uploads = [] if is_empty else [Upload(content)]
    else:
        raise ContentTypeError(f"the body is {content_type[:80]}, not an image, a form or JSON", _CURL)
    uploads += [Upload(b"", url=value) for name, value in parameters if name == "url"]
    parameters = [(name, value) for name, value in parameters if name != "url"]
    if not uploads:
        raise RequestError("there is no photograph in the form", _CURL)
    _refuse_too_many(uploads, settings)
    names = {name for name, _ in parameters}
    if "vocabulary" in names:
        asked = await in_database_thread(_tag_request, uploads, parameters, registry)
    elif "labels" in names:
        # Validating 20,000 labels would block every other request.
        asked = await to_thread.run_sync(_tag_request, uploads, parameters, registry)
    else:
        asked = _tag_request(uploads, parameters, registry)
    uploads = await _fetched(uploads, fetcher, settings.max_request_bytes)
    return replace(
        asked,
        uploads=tuple(uploads),
        idempotency_key=request.headers.get("idempotency-key"),
        ndjson=accepts(request, NDJSON),
    )


def in_accepted_language(asked: TagRequest, request: Request) -> TagRequest:
    """The same request, with tags in a language of the header Accept-Language, unless the request names its
    language or its labels. The vocabulary keeps its own names if it lacks these languages."""
    languages = accepted_languages(request)
    if not languages or asked.selection.languages or asked.names_labels:
        return asked
    return replace(asked, selection=replace(asked.selection, languages=(*languages, ANY_LANGUAGE)))


async def read_images(
    images: Sequence[JsonImage], settings: Settings, fetcher: UrlFetcher | None
) -> list[bytes | ImageError]:
    """The photographs of a JSON body, in their order. An ImageError says why one could not be fetched.

    Raises RequestError and UrlInputOffError.
    """
    _refuse_too_many(images, settings)
    uploads = await to_thread.run_sync(_of_json, images)
    return [upload.data for upload in await _fetched(uploads, fetcher, settings.max_request_bytes)]


def _refuse_too_many(photographs: Sequence[object], settings: Settings) -> None:
    if len(photographs) > settings.max_images:
        raise RequestError(f"there are {len(photographs)} photographs", f"send at most {settings.max_images}")


async def _of_form(
    form: Sequence[tuple[str, str | UploadFile]],
) -> tuple[list[Upload], list[tuple[str, str]]]:
    uploads, fields = [], []
    for name, value in form:
        if isinstance(value, str):
            if name == "image":
                raise RequestError(
                    "the field `image` is text and not a file",
                    "put @ before the file name: image=@photo.jpg",
                )
            fields.append((name, value))
        elif name == "image":
            uploads.append(await _read_upload(value))
        else:
            raise RequestError(
                f"there is a file in the field `{name[:40]}`", "put photographs into the field `image`"
            )
    return uploads, fields


def _of_json(images: Sequence[JsonImage]) -> list[Upload]:
    return [Upload(image.content(), image.filename, image.address) for image in images]


async def _fetched(uploads: list[Upload], fetcher: UrlFetcher | None, max_bytes: int) -> list[Upload]:
    if all(upload.url is None for upload in uploads):
        return uploads
    if fetcher is None:
        raise UrlInputOffError(
            "this service does not fetch photographs",
            "send the photograph itself, or set SIGRL_URL_INPUT=true",
        )

    sent = sum(len(upload.data) for upload in uploads if isinstance(upload.data, bytes))
    budget = Budget(max_bytes - sent)

    async def fetch(upload: Upload) -> Upload:
        return upload if upload.url is None else replace(upload, data=await fetcher.fetch(upload.url, budget))

    return list(await asyncio.gather(*map(fetch, uploads)))


async def _read_upload(file: UploadFile) -> Upload:
    return Upload(await file.read(), file.filename)


def _tag_request(
    uploads: Sequence[Upload], parameters: Sequence[tuple[str, str]], registry: VocabularyRegistry
) -> TagRequest:
    values: dict[str, list[str]] = {}
    for name, value in parameters:
        if name not in PARAMETERS:
            # If a misspelt `labels` were ignored, the answer would be for other labels.
            raise ParameterError(f"there is no parameter `{name[:40]}`", f"use {', '.join(PARAMETERS)}")
        if "\ufffd" in value:
            raise ParameterError(f"{name} is not UTF-8", "encode it as UTF-8, in a URL with percent signs")
        values.setdefault(name, []).append(value)
    language = _single(values, "language")
    if language == "":
        raise ParameterError("language is empty", "give a tag such as `de`, or leave the field out")
    asked = _vocabularies(values, registry, language)
    names_labels = "labels" in values
    selection = Selection(
        _number(values, "top_k", int, "a whole number"),
        **{name: _number(values, name, float, "a number") for name in THRESHOLDS},
        brief=not asked,
        # Labels in the client's own words keep them.
        languages=(language,) if language is not None and not names_labels else (),
    )
    checkpoint = _single(values, "checkpoint")
    if checkpoint == "":
        raise ParameterError("checkpoint is empty", "give an id, or leave the field out")
    return TagRequest(tuple(uploads), asked, selection, names_labels, checkpoint)


def _vocabularies(
    values: dict[str, list[str]], registry: VocabularyRegistry, language: str | None
) -> tuple[Vocabulary, ...]:
    names = values.get("vocabulary", [])
    if names and "labels" in values:
        raise ParameterError("both labels and vocabulary are given", "give one of them")
    if len(names) > MAX_VOCABULARIES or len(set(names)) < len(names):
        raise ParameterError(
            f"vocabulary is given {len(names)} times: some are equal, or there are too many",
            f"give at most {MAX_VOCABULARIES}, each once",
        )
    try:
        found = tuple(map(registry.get, names))
    except VocabularyNotFoundError as error:
        # The status is not 404, because the request's path exists.
        raise InvalidLabelsError(error.detail, error.hint) from error
    return found or ((vocabularies.parse_labels(values["labels"], language),) if "labels" in values else ())


def _number(
    values: dict[str, list[str]], name: str, kind: Callable[[str], Number], in_words: str
) -> Number | None:
    text = _single(values, name)
    if text is None:
        return None
    try:
        if "_" in text:
            # Python would read 1_0 as 10.
            raise ValueError
        return kind(text)
    except ValueError as error:
        raise ParameterError(f"{name} is '{text[:40]}'", f"give {in_words}") from error


def _single(values: dict[str, list[str]], name: str) -> str | None:
    given = values.get(name, [])
    if len(given) > 1:
        raise ParameterError(
            f"{name} is given {len(given)} times", "give it once, in the form or in the query"
        )
    return given[0] if given else None
