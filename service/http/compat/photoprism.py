"""POST /api/v1/vision/labels: labels of one photograph as PhotoPrism asks for them."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated

from fastapi import APIRouter, Depends, Request

from sigrl.model.vocabulary import Label, Vocabulary
from sigrl.service.http.compat.problem_route import ProblemRoute
from sigrl.service.http.compat.tagging import (
    VocabularyName,
    named_vocabulary,
    read_photographs,
    tag_photographs,
)
from sigrl.service.http.content import read_json_as
from sigrl.service.http.openapi import json_body
from sigrl.service.http.problems import documented
from sigrl.service.http.scopes import NEEDS_TAG
from sigrl.service.http.state import ServiceState, service_state
from sigrl.service.schemas.compat.photoprism import (
    VisionAnswer,
    VisionLabel,
    VisionModel,
    VisionRequest,
    VisionResult,
)
from sigrl.service.schemas.tagging import Tag, Tagging
from sigrl.service.tagging.selection import Selection

router = APIRouter(tags=["other clients"], dependencies=[NEEDS_TAG], route_class=ProblemRoute)

_HINT = 'send {"images": ["data:image/jpeg;base64,..."]}'


@router.post(
    "/api/v1/vision/labels",
    responses=documented(404, 408, 413, 415, 422, 429, 500, 503, 504, 507),
    openapi_extra=json_body(VisionRequest),
)
async def label_for_photoprism(
    request: Request,
    state: Annotated[ServiceState, Depends(service_state)],
    vocabulary_name: VocabularyName = None,
) -> VisionAnswer:
    """PhotoPrism's Vision API: the labels of one photograph, merged from several crops of it.

    A label is returned if it reaches its threshold in at least one crop. Crops that cannot be read are left
    out, unless none can be read.
    """
    state.ready_tagger.check_room()
    asked = await read_json_as(request, VisionRequest, _HINT)
    vocabulary = await named_vocabulary(vocabulary_name, state)
    crops = await read_photographs(asked.crops, state)
    outcomes = await tag_photographs(crops, vocabulary, Selection(brief=vocabulary_name is None), state)
    taggings = [each for each in outcomes if isinstance(each, Tagging)]
    labels = sorted(_merged(taggings, vocabulary), key=lambda label: -label.confidence)
    model = VisionModel(name=vocabulary.name, version=taggings[0].checkpoint)
    return VisionAnswer(id=asked.id, model=model, result=VisionResult(labels=tuple(labels)))


def _merged(taggings: Sequence[Tagging], vocabulary: Vocabulary) -> Iterator[VisionLabel]:
    found: dict[str, list[Tag]] = {}
    for tagging in taggings:
        for tag in tagging.tags:
            found.setdefault(tag.label, []).append(tag)
    labels = {label.name.casefold(): label for label in vocabulary.labels}
    for name, tags in found.items():
        broader = tuple(_broader(name, labels))
        yield VisionLabel(
            name=name,
            priority=len(broader),
            confidence=max(tag.probability for tag in tags),
            topicality=round(sum(tag.probability for tag in tags) / len(taggings), 6),
            categories=broader,
        )


def _broader(name: str, labels: Mapping[str, Label]) -> Iterator[str]:
    """The broader labels of a label, narrowest first. The keys of `labels` are casefolded names."""
    label = labels[name.casefold()]
    while label.parent is not None:
        label = labels[label.parent.casefold()]
        yield label.name
