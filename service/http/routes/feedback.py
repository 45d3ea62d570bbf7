"""/v1/feedback: collects right and wrong tags as a training set."""

import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from typing import Annotated, Any

from anyio import to_thread
from fastapi import APIRouter, Depends, Path, Request
from starlette.responses import StreamingResponse

from sigrl.service.batching.threads import in_database_thread, waits_for_database
from sigrl.service.errors import (
    FeedbackOffError,
    InvalidLabelsError,
    ParameterError,
    RequestError,
    StorageFullError,
)
from sigrl.service.feedback.exporting import training_set
from sigrl.service.feedback.store import FeedbackStore
from sigrl.service.http.forms import read_form
from sigrl.service.http.problems import documented
from sigrl.service.http.scopes import NEEDS_ADMIN, NEEDS_TAG
from sigrl.service.http.state import ServiceState, service_state
from sigrl.service.schemas.feedback import FeedbackAnswer, FeedbackSummary, TagCounts
from sigrl.service.serving.calibration import example
from sigrl.service.vocabularies import builtin as vocabularies

router = APIRouter(prefix="/v1/feedback", tags=["feedback"])

ZIP = "application/zip"
_CHUNK = 1 << 20
_MAX_TAGS = 1000
_HINT = "send it as `curl -F image=@photo.jpg -F right=dog -F wrong=cat,sofa`"
_TAGS = {
    "type": "array",
    "items": {"type": "string"},
    "description": "Tags: `dog,bicycle`, repeated fields, or a JSON list if a tag contains a comma.",
}
_OPENAPI: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["image"],
                    "properties": {
                        "image": {"type": "string", "format": "binary", "description": "The photograph."},
                        "right": _TAGS,
                        "wrong": _TAGS,
                        "language": {
                            "type": "string",
                            "minLength": 1,
                            "description": "BCP 47 tag of the language that the tags are in.",
                        },
                    },
                    "additionalProperties": False,
                }
            }
        },
    }
}


async def _store(state: Annotated[ServiceState, Depends(service_state)]) -> FeedbackStore:
    return FeedbackStore(state.vocabularies.database)


Store = Annotated[FeedbackStore, Depends(_store)]
Photograph = Annotated[str, Path(pattern="^sha256:[0-9a-f]{64}$")]


@router.post(
    "",
    dependencies=[NEEDS_TAG],
    responses=documented(403, 408, 413, 415, 422, 503, 507),
    openapi_extra=_OPENAPI,
)
async def give_feedback(
    request: Request, state: Annotated[ServiceState, Depends(service_state)], store: Store
) -> FeedbackAnswer:
    """Stores which of a photograph's tags a user marks as right and which as wrong.

    The service keeps a small copy of the photograph without its metadata, within the limit of
    SIGRL_FEEDBACK_BYTES. If the same photograph is sent again, the newer judgement of each tag counts. Names
    in other languages are stored as the built-in vocabularies call them in English.
    """
    settings = state.settings
    if not settings.feedback_bytes:
        raise FeedbackOffError(
            "this service keeps no feedback", "set SIGRL_FEEDBACK_BYTES to the space that it may use"
        )
    data, shown = await _read(request)

    given = await state.ready_tagger.in_decoder(partial(example, data, shown, state.ready_tagger.small_copy))
    known = await in_database_thread(store.add, given, settings.feedback_bytes)
    right, wrong = (tuple(sorted(tag for tag in known if known[tag] is applies)) for applies in (True, False))
    return FeedbackAnswer(photograph=given.digest, right=right, wrong=wrong)


@router.get("", dependencies=[NEEDS_ADMIN], responses=documented(503))
@waits_for_database
def summarise_feedback(
    state: Annotated[ServiceState, Depends(service_state)], store: Store
) -> FeedbackSummary:
    """Counts the stored feedback, in total and by tag."""
    counts = store.counts()
    tags = sorted(counts.right.keys() | counts.wrong.keys())
    return FeedbackSummary(
        photographs=counts.photographs,
        bytes=counts.bytes,
        max_bytes=state.settings.feedback_bytes,
        tags=tuple(
            TagCounts(tag=tag, right=counts.right.get(tag, 0), wrong=counts.wrong.get(tag, 0)) for tag in tags
        ),
    )


@router.get(
    "/export",
    dependencies=[NEEDS_ADMIN],
    response_class=StreamingResponse,
    responses={
        200: {"content": {ZIP: {"schema": {"type": "string", "format": "binary"}}}},
        **documented(503, 507),
    },
)
@waits_for_database
def export_feedback(store: Store) -> StreamingResponse:
    """All feedback as a ZIP archive: photographs, and `labels.jsonl` for `sigrl-train init photographs`."""
    # The archive is finished before its first byte is sent, so the caller gets a whole archive or a problem.
    try:
        with ExitStack() as unfinished:
            archive = unfinished.enter_context(tempfile.TemporaryFile())
            with zipfile.ZipFile(archive, "w") as packed:
                for path, content in training_set(store):
                    packed.writestr(path, content)
            archive.seek(0)
            unfinished.pop_all()
    except OSError as error:
        raise StorageFullError(
            "the archive cannot be written in the temporary folder",
            "free space there, or set TMPDIR to another folder",
        ) from error

    def chunks() -> Iterator[bytes]:
        with archive:
            while chunk := archive.read(_CHUNK):
                yield chunk

    headers = {"Content-Disposition": 'attachment; filename="feedback.zip"'}
    return StreamingResponse(chunks(), headers=headers, media_type=ZIP)


@router.delete(
    "/photographs/{photograph}",
    dependencies=[NEEDS_ADMIN],
    status_code=204,
    responses=documented(404, 422, 503),
)
@waits_for_database
def forget_feedback(photograph: Photograph, store: Store) -> None:
    """Deletes a photograph and the feedback on it."""
    store.delete(photograph)


async def _read(request: Request) -> tuple[bytes, dict[str, bool]]:
    """The photograph's file, and for each tag whether it is right."""
    texts: dict[str, list[str]] = {"right": [], "wrong": []}
    data = language = None
    async with read_form(request, 1, _MAX_TAGS, _HINT) as form:
        for name, value in form:
            if name == "image" and not isinstance(value, str):
                data = await value.read()
            elif name in texts and isinstance(value, str):
                texts[name].append(value)
            elif name == "language" and isinstance(value, str):
                language = value
            else:
                raise ParameterError(f"the field `{name[:40]}` is not known here", _HINT)
    if data is None:
        raise RequestError("there is no photograph in the form", _HINT)
    return data, await to_thread.run_sync(_shown, texts, language)


def _shown(texts: dict[str, list[str]], language: str | None) -> dict[str, bool]:
    right, wrong = (_english(texts[name], language) for name in ("right", "wrong"))
    if not right and not wrong:
        raise InvalidLabelsError("neither right nor wrong tags are given", _HINT)
    if both := set(right) & set(wrong):
        raise InvalidLabelsError(f"{min(both)!a} is given as right and as wrong", "give it once")
    return dict.fromkeys(right, True) | dict.fromkeys(wrong, False)


def _english(texts: list[str], language: str | None) -> tuple[str, ...]:
    labels = vocabularies.parse_labels(texts, language).labels if texts else ()
    return tuple(label.english for label in labels)
