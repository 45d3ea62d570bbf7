"""POST /v1/embeddings."""

from copy import deepcopy
from typing import Annotated, Any

from anyio import to_thread
from fastapi import APIRouter, Depends, Request, Response

from sigrl.model.engine import LabelFeatures
from sigrl.model.vocabulary import Vocabulary, VocabularyError
from sigrl.service.errors import InvalidLabelsError, ParameterError
from sigrl.service.http.content import JSON, media_type, read_json
from sigrl.service.http.problems import documented
from sigrl.service.http.scopes import NEEDS_TAG
from sigrl.service.http.state import ServiceState, service_state
from sigrl.service.http.tag_openapi import OPENAPI
from sigrl.service.http.tag_request import TagRequest, read_tag_request
from sigrl.service.http.tag_response import failed_image, fault, server_timing
from sigrl.service.schemas.embeddings import EmbeddingsAnswer, ImageEmbedding, LabelEmbedding
from sigrl.service.schemas.tags import FailedImage
from sigrl.service.serving.async_tagger import AsyncTagger
from sigrl.service.serving.embedding import Embed, Embedded, rounded
from sigrl.service.serving.outcomes import ImageResult
from sigrl.service.tagging.selection import Selection
from sigrl.service.tagging.tagger import Tagger

router = APIRouter(tags=["tagging"], dependencies=[NEEDS_TAG])

MAX_LABELS = 1000
"""Of one request: a bound on the size of an answer."""


def _openapi() -> dict[str, Any]:
    """Photographs as for POST /v1/tag, without its parameters; or labels in JSON."""
    body = deepcopy(OPENAPI["requestBody"])
    form = body["content"]["multipart/form-data"]["schema"]
    form["properties"] = {"image": form["properties"]["image"]}
    names = {
        "type": "array",
        "items": {"type": "string", "pattern": r"\S"},
        "minItems": 1,
        "maxItems": MAX_LABELS,
    }
    body["content"]["application/json"] = {
        "schema": {
            "type": "object",
            "required": ["labels"],
            "properties": {
                "labels": {
                    **names,
                    "items": {
                        "anyOf": [
                            {"type": "string", "pattern": r"\S"},
                            {"$ref": "#/components/schemas/Label"},
                        ]
                    },
                }
            },
        },
        "example": {"labels": ["dog", {"name": "sofa", "synonyms": ["couch"]}]},
    }
    return {"requestBody": body}


@router.post(
    "/v1/embeddings",
    response_model=EmbeddingsAnswer,
    responses=documented(408, 413, 415, 422, 429, 500, 503, 504, 507),
    openapi_extra=_openapi(),
)
async def embeddings(request: Request, state: Annotated[ServiceState, Depends(service_state)]) -> Response:
    """Vectors of photographs or of labels, for a search of your own.

    Photographs come as to POST /v1/tag, labels as a JSON object `{"labels": [...]}`, each a name or an object
    as in a vocabulary; at most 1,000 in one request. All vectors have length 1, and the dot product of a
    photograph's and a label's is the cosine of the global part of the label's score; what single patches add
    to it is not in them. Only vectors of the same `checkpoint` can be compared.
    """
    tagger = state.ready_tagger
    tagger.check_room()
    if media_type(request) == JSON:
        body = await _of_labels(tagger, await read_json(request))
        return Response(body, media_type="application/json")
    asked = await read_tag_request(request, state.settings, state.vocabularies, state.fetcher)
    if asked.vocabularies or asked.checkpoint or asked.selection != Selection(brief=True):
        raise ParameterError(
            "there are parameters beside the photographs",
            "send photographs alone, and labels in a request of their own as JSON",
        )
    photographs = [upload.data for upload in asked.uploads]
    # Scored with the labels that are always encoded, and only the embeddings are looked at.
    async with tagger.tag_many(photographs, [tagger.vocabulary], Selection(1), Embed) as tags:
        finished = await tags.in_order()
    if (error := fault(finished)) is not None:
        raise error
    request_id = request.state.request_id
    body = await to_thread.run_sync(_of_images, tags.checkpoint, asked, finished, request_id)
    return Response(body, headers={"Server-Timing": server_timing(finished)}, media_type="application/json")


async def _of_labels(tagger: AsyncTagger, body: bytes) -> bytes:
    vocabulary = await to_thread.run_sync(_vocabulary, body)

    def answer(active: Tagger, features: LabelFeatures) -> bytes:
        engine = active.engine
        vectors = engine.label_embeddings(features).tolist()
        labels = tuple(
            LabelEmbedding(label=name, embedding=rounded(vector))
            for name, vector in zip(vocabulary.names, vectors, strict=True)
        )
        return EmbeddingsAnswer(checkpoint=engine.checkpoint_id, labels=labels).model_dump_json().encode()

    return await tagger.look_at_labels(vocabulary, answer)


def _vocabulary(body: bytes) -> Vocabulary:
    hint = 'send {"labels": ["dog", "bicycle"]}'
    try:
        vocabulary = Vocabulary.from_json(body.decode())
    except UnicodeDecodeError as error:
        raise InvalidLabelsError("the body is not UTF-8", hint) from error
    except VocabularyError as error:
        raise InvalidLabelsError(str(error), hint) from error
    if len(vocabulary.labels) > MAX_LABELS:
        raise InvalidLabelsError(
            f"there are {len(vocabulary.labels):,} labels", f"send at most {MAX_LABELS:,} at once"
        )
    return vocabulary


def _of_images(checkpoint: str, asked: TagRequest, finished: list[ImageResult], request_id: str) -> bytes:
    images = tuple(_image(asked.uploads[each.number].filename, each, request_id) for each in finished)
    return EmbeddingsAnswer(checkpoint=checkpoint, images=images).model_dump_json().encode()


def _image(filename: str | None, finished: ImageResult, request_id: str) -> ImageEmbedding | FailedImage:
    if isinstance(finished.outcome, Exception):
        return failed_image(filename, finished.outcome, request_id)
    (embedded,) = finished.outcome
    assert isinstance(embedded, Embedded)
    return ImageEmbedding(filename=filename, embedding=embedded.embedding)
