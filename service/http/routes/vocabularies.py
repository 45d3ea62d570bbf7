"""/v1/vocabularies: manages the vocabularies that requests use by name."""

from typing import Annotated, Any

from anyio import to_thread
from fastapi import APIRouter, Depends, Path, Query, Request, Response

from sigrl.model.vocabulary import MAX_FILE_BYTES, MAX_LABELS, Vocabulary, VocabularyError
from sigrl.service.batching.threads import in_database_thread, waits_for_database
from sigrl.service.errors import ContentTypeError, InvalidLabelsError, RequestTooLargeError
from sigrl.service.http.content import JSON, media_type, read_json
from sigrl.service.http.openapi import component
from sigrl.service.http.problems import documented
from sigrl.service.http.scopes import NEEDS_TAG, NEEDS_VOCABULARY
from sigrl.service.http.state import ServiceState, service_state
from sigrl.service.schemas.vocabularies import (
    VersionPage,
    VocabularyDocument,
    VocabularyPage,
    VocabularySummary,
)
from sigrl.service.vocabularies.builtin import NAME
from sigrl.service.vocabularies.preconditions import Preconditions
from sigrl.service.vocabularies.queries import Entry
from sigrl.service.vocabularies.registry import VocabularyRegistry

router = APIRouter(prefix="/v1/vocabularies", tags=["vocabularies"])

_CURL = "send a list of labels or an object with `labels`, as JSON: `curl -T vocabulary.json`"
_ETAGS = r'^(\*|(W/)?"[!#-~]*"(, ?(W/)?"[!#-~]*")*)$'


def _header(name: str, description: str) -> dict[str, Any]:
    schema = {"type": "string", "pattern": _ETAGS, "examples": ['"3-09de08a4"']}
    return {"name": name, "in": "header", "schema": schema, "description": description}


_PRECONDITIONS = [
    _header(
        "If-Match",
        "The ETag that you know: 412 if it has changed. `*`: 412 if there is none.",
    ),
    _header("If-None-Match", "`*`: 412 if a vocabulary of that name exists."),
]
_ETAG = {"ETag": {"schema": {"type": "string"}, "description": "Identifies this version, for If-Match."}}
_LABELS = {
    "type": "array",
    "minItems": 1,
    "maxItems": MAX_LABELS,
    "items": {"oneOf": [{"type": "string", "pattern": r"\S"}, {"$ref": "#/components/schemas/Label"}]},
}
_SHARE = {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}
# Written by hand because the route reads the body itself, to validate it in a thread.
BODY: dict[str, Any] = {
    "required": True,
    "content": {
        "application/json": {
            "schema": {
                "oneOf": [
                    component(
                        "VocabularyBody",
                        {
                            "type": "object",
                            "required": ["labels"],
                            "properties": {"labels": _LABELS, "precision": _SHARE, "recall": _SHARE},
                            "not": {"required": ["precision", "recall"]},
                        },
                    ),
                    _LABELS,
                ]
            },
            "example": {"labels": ["dog", {"name": "cat", "synonyms": ["kitty"], "threshold": 0.4}]},
        }
    },
}


async def _registry(state: Annotated[ServiceState, Depends(service_state)]) -> VocabularyRegistry:
    return state.vocabularies


Registry = Annotated[VocabularyRegistry, Depends(_registry)]
Limit = Annotated[int, Query(ge=1, le=1000)]
After = Annotated[str, Query(pattern=f"^({NAME.pattern})?$")]
# The pattern is only documentation: the registry validates the name and explains what is allowed.
Name = Annotated[str, Path(json_schema_extra={"pattern": f"^{NAME.pattern}$"})]
Version = Annotated[int | None, Query(ge=1, le=2**31 - 1)]


@router.get("", dependencies=[NEEDS_TAG], responses=documented(422, 503))
@waits_for_database
def list_vocabularies(registry: Registry, after: After = "", limit: Limit = 100) -> VocabularyPage:
    """Lists the vocabularies that requests can name, in pages. `next` is the path of the next page."""
    entries = registry.entries(after, limit + 1)
    shown = entries[:limit]
    return VocabularyPage(
        vocabularies=tuple(map(Entry.summary, shown)),
        next=f"{router.prefix}?after={shown[-1].name}&limit={limit}" if entries[limit:] else None,
    )


@router.get(
    "/{name}",
    dependencies=[NEEDS_TAG],
    response_model=VocabularyDocument,
    responses={200: {"headers": _ETAG}, 304: {"description": "Not Modified"}, **documented(404, 422, 503)},
    openapi_extra={
        "parameters": [_header("If-None-Match", "The ETag that you know: 304 if it has not changed.")]
    },
)
@waits_for_database
def get_vocabulary(name: Name, registry: Registry, request: Request, version: Version = None) -> Response:
    """Returns a vocabulary with its labels, in the newest or the given version."""
    entry = registry.entry(name, version)
    headers = {"ETag": entry.etag, "Cache-Control": "no-cache"}
    if Preconditions.of(request.headers).unchanged(entry.etag):
        return Response(status_code=304, headers=headers)
    vocabulary = registry.get(name, entry.version)
    fields = entry.summary().model_dump() | vocabulary.settings
    document = VocabularyDocument(**fields, labels=vocabulary.labels)
    # Serialised here, in a worker thread, because 20,000 labels take a while.
    return Response(document.model_dump_json(exclude_defaults=True), 200, headers, "application/json")


@router.get("/{name}/versions", dependencies=[NEEDS_TAG], responses=documented(404, 422, 503))
@waits_for_database
def list_versions(name: Name, registry: Registry, before: Version = None, limit: Limit = 100) -> VersionPage:
    """Lists the versions of a vocabulary, newest first. The last hundred are kept."""
    entries = registry.versions(name, before, limit + 1)
    shown, path = entries[:limit], f"{router.prefix}/{name}/versions"
    return VersionPage(
        versions=tuple(map(Entry.summary, shown)),
        next=f"{path}?before={shown[-1].version}&limit={limit}" if entries[limit:] else None,
    )


@router.put(
    "/{name}",
    dependencies=[NEEDS_VOCABULARY],
    responses={
        200: {"headers": _ETAG},
        201: {"model": VocabularySummary, "description": "Created", "headers": _ETAG},
        **documented(403, 408, 412, 413, 415, 422, 429, 503),
    },
    openapi_extra={"requestBody": BODY, "parameters": _PRECONDITIONS},
)
async def put_vocabulary(
    name: Name, registry: Registry, request: Request, response: Response
) -> VocabularySummary:
    """Registers a vocabulary, or adds a new version of it. Older versions are kept.

    The body is a list of labels, or an object with `labels`. Each label is a name or an object. `precision`
    or `recall` in the object sets the thresholds for requests that set none. A document from GET is accepted,
    changed or unchanged. If the labels are equal to the current ones, no new version is made.
    """
    preconditions = Preconditions.of(request.headers)
    vocabulary = await read_vocabulary(request)
    entry, is_new = await in_database_thread(registry.put, name, vocabulary, preconditions)
    response.headers["ETag"] = entry.etag
    if is_new:
        response.status_code = 201
        response.headers["Location"] = f"{router.prefix}/{name}"
    return entry.summary()


@router.delete(
    "/{name}",
    dependencies=[NEEDS_VOCABULARY],
    status_code=204,
    responses=documented(403, 404, 412, 422, 503),
    openapi_extra={"parameters": _PRECONDITIONS[:1]},
)
@waits_for_database
def delete_vocabulary(name: Name, registry: Registry, request: Request) -> None:
    """Deletes a vocabulary with all its versions. If a vocabulary is later registered under the same name,
    its version numbers continue from the last one, so that a name and version never mean two vocabularies."""
    registry.delete(name, Preconditions.of(request.headers))


async def read_vocabulary(request: Request) -> Vocabulary:
    """Reads a vocabulary from a JSON body. Raises ContentTypeError, InvalidLabelsError and
    RequestTooLargeError."""
    content_type = media_type(request)
    if content_type not in (JSON, ""):
        raise ContentTypeError(f"the body is {content_type[:80]}, not {JSON}", _CURL)
    # Runs in a thread, because validating 20,000 labels would block every other request.
    return await to_thread.run_sync(_parse, await read_json(request))


def _parse(body: bytes) -> Vocabulary:
    if len(body) > MAX_FILE_BYTES:
        allowed = f"{MAX_FILE_BYTES >> 20} MiB"
        raise RequestTooLargeError(f"the vocabulary is larger than {allowed}", "split it")
    try:
        return Vocabulary.from_json(body.decode())
    except UnicodeDecodeError as error:
        raise InvalidLabelsError("the vocabulary is not UTF-8 text", "save it as UTF-8") from error
    except VocabularyError as error:
        raise InvalidLabelsError(str(error), _CURL) from error
