"""POST /v1/embeddings."""

from copy import deepcopy
from typing import Annotated, Any

from anyio import to_thread
from fastapi import APIRouter, Depends, Request, Response

from sigrl.model.engine import LabelFeatures
from sigrl.model.vocabulary import Vocabulary, VocabularyError
from sigrl.service.errors import InvalidLabelsError, ParameterError
from sigrl.service.http.content import JSON, media_type, read_json
from sigrl.service.http.openapi import component
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
"""Maximum number of labels in one request, which limits the size of the answer."""

_SEPARATE = "send only photographs; send labels as JSON in another request"


def _openapi() -> dict[str, Any]:
    """The request body: photographs as for POST /v1/tag without its parameters, or labels as JSON."""
    body = deepcopy(OPENAPI["requestBody"])
    form = body["content"]["multipart/form-data"]["schema"]
    form["properties"] = {"image": form["properties"]["image"]}
    names = {
        "type": "array",
        "items": {"type": "string", "pattern": r"\S"},
        "minItems": 1,
        "maxItems": MAX_LABELS,
    }
    labels = {
        "type": "object",
        "required": ["labels"],
        "properties": {
            "labels": {
                **names,
                "items": {
                    "anyOf": [{"type": "string", "pattern": r"\S"}, {"$ref": "#/components/schemas/Label"}]
                },
            }
        },
    }
    body["content"]["application/json"] = {
        "schema": component("LabelsToEmbed", labels),
        "example": {"labels": ["dog", {"name": "sofa", "synonyms": ["couch"]}]},
    }
    url = next(each for each in OPENAPI["parameters"] if each["name"] == "url")
    return {"requestBody": body, "parameters": [url]}


@router.post(
    "/v1/embeddings",
    response_model=EmbeddingsAnswer,
    responses=documented(408, 413, 415, 422, 429, 500, 503, 504, 507),
    openapi_extra=_openapi(),
)
async def embeddings(request: Request, state: Annotated[ServiceState, Depends(service_state)]) -> Response:
    """Returns embeddings of photographs or labels, for your own search.

    Send photographs as for POST /v1/tag, or labels as a JSON object `{"labels": [...]}`. Each label is a name
    or an object as in a vocabulary, with at most 1,000 labels per request. All vectors have length 1. The dot
    product of a photograph's vector and a label's vector is the cosine in the global part of the label's
    score; the contribution of individual patches is not included. Only vectors of the same `checkpoint` can
    be compared.
    """
    tagger = state.ready_tagger
    tagger.check_room()
    if media_type(request) == JSON:
        if "url" in request.query_params:
            raise ParameterError("there is a URL beside the labels", _SEPARATE)
        body = await _of_labels(tagger, await read_json(request))
        return Response(body, media_type="application/json")
    asked = await read_tag_request(request, state.settings, state.vocabularies, state.fetcher)
    if asked.vocabularies or asked.checkpoint or asked.selection != Selection(brief=True):
        raise ParameterError("the request has parameters besides the photographs", _SEPARATE)
    photographs = [upload.data for upload in asked.uploads]
    # The labels of the service's own vocabulary are always encoded. Only the embeddings are returned.
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
