"""POST /compat/openai/embeddings: embeddings of photographs and texts as OpenAI's clients ask for them."""

import base64
from collections.abc import Sequence
from typing import Annotated

import numpy as np
from fastapi import APIRouter, Depends, Request

from sigrl.model.engine import LabelFeatures
from sigrl.model.vocabulary import Label, Vocabulary
from sigrl.model.words import MAX_NAME_LENGTH, clean_text
from sigrl.service.errors import InvalidLabelsError
from sigrl.service.http.compat.problem_route import OpenAiProblemRoute
from sigrl.service.http.compat.tagging import read_photographs
from sigrl.service.http.content import read_json_as
from sigrl.service.http.openapi import json_body
from sigrl.service.http.problems import documented
from sigrl.service.http.scopes import NEEDS_TAG
from sigrl.service.http.state import ServiceState, service_state
from sigrl.service.schemas.compat.openai import Embedding, EmbeddingsList, EmbeddingsRequest, ImageInput
from sigrl.service.schemas.tagging import Tagging
from sigrl.service.serving.async_tagger import AsyncTagger
from sigrl.service.serving.embedding import Embed, Embedded, rounded
from sigrl.service.tagging.selection import Selection
from sigrl.service.tagging.tagger import Tagger

router = APIRouter(tags=["other clients"], dependencies=[NEEDS_TAG], route_class=OpenAiProblemRoute)

_HINT = 'send {"input": ["a dog", {"image": "data:image/jpeg;base64,..."}], "model": "sigrl"}'
Vector = tuple[float, ...]


@router.post(
    "/compat/openai/embeddings",
    responses=documented(408, 409, 413, 415, 422, 429, 500, 503, 504, 507),
    openapi_extra=json_body(EmbeddingsRequest),
)
async def create_embeddings(
    request: Request, state: Annotated[ServiceState, Depends(service_state)]
) -> EmbeddingsList:
    """OpenAI's embeddings, for photographs as well as texts; set the client's `base_url` to `/compat/openai`.

    The vectors are those of POST /v1/embeddings: a text is embedded as a label of that name is.
    """
    tagger = state.ready_tagger
    tagger.check_room()
    asked = await read_json_as(request, EmbeddingsRequest, _HINT)
    inputs = (asked.input,) if isinstance(asked.input, str) else asked.input
    images = {n: each.image for n, each in enumerate(inputs) if isinstance(each, ImageInput)}
    texts = {
        n: each if isinstance(each, str) else each.text
        for n, each in enumerate(inputs)
        if not isinstance(each, ImageInput)
    }
    checkpoint, vectors = tagger.checkpoint, dict[int, Vector]()
    if texts:
        checkpoint, of_texts = await _embed_texts(list(texts.values()), tagger)
        vectors.update(zip(texts, of_texts, strict=True))
    if images:
        # By the checkpoint of the texts, even if another one was activated meanwhile.
        of_images = await _embed_photographs(list(images.values()), checkpoint, state)
        vectors.update(zip(images, of_images, strict=True))
    is_base64 = asked.encoding_format == "base64"
    data = tuple(
        Embedding(index=n, embedding=_base64(vectors[n]) if is_base64 else vectors[n])
        for n in range(len(inputs))
    )
    return EmbeddingsList(data=data, model=checkpoint)


async def _embed_texts(texts: Sequence[str], tagger: AsyncTagger) -> tuple[str, list[Vector]]:
    """(id of the checkpoint, one vector per text)."""
    keys = [clean_text(text).casefold() for text in texts]
    first = dict(zip(reversed(keys), reversed(texts), strict=True))
    rows = {key: row for row, key in enumerate(first)}
    try:
        vocabulary = Vocabulary(labels=tuple(map(_label, first.values(), rows.values())))
    except ValueError as error:
        raise InvalidLabelsError(f"a text cannot be embedded: {error}", _HINT) from error

    def embed(active: Tagger, features: LabelFeatures) -> tuple[str, list[Vector]]:
        vectors = active.engine.label_embeddings(features).tolist()
        return active.engine.checkpoint_id, [rounded(vectors[rows[key]]) for key in keys]

    return await tagger.look_at_labels(vocabulary, embed)


def _label(text: str, row: int) -> Label:
    """A text as a label. A text that is too long for a name becomes the label's only prompt."""
    if len(clean_text(text)) <= MAX_NAME_LENGTH:
        return Label(name=text)
    return Label(name=f"{clean_text(text)[: MAX_NAME_LENGTH - 10]} {row}", prompts=(text,))


async def _embed_photographs(images: Sequence[str], checkpoint: str, state: ServiceState) -> list[Vector]:
    photographs = await read_photographs(images, state)
    tagger = state.ready_tagger
    async with tagger.tag_many(photographs, [tagger.vocabulary], Selection(1), Embed, checkpoint) as stream:
        finished = await stream.in_order()
    return [_vector(each.outcome) for each in finished]


def _vector(outcome: tuple[Tagging, ...] | Exception) -> Vector:
    if isinstance(outcome, Exception):
        raise outcome
    (embedded,) = outcome
    assert isinstance(embedded, Embedded)
    return embedded.embedding


def _base64(vector: Vector) -> str:
    return base64.b64encode(np.array(vector, "<f4").tobytes()).decode()
