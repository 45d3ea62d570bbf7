"""POST /compat/huggingface: zero-shot image classification as Hugging Face's clients ask for it."""

from typing import Annotated

from anyio import to_thread
from fastapi import APIRouter, Depends, Request

from sigrl.model.vocabulary import Label, Vocabulary
from sigrl.service.errors import InvalidLabelsError
from sigrl.service.http.compat.problem_route import ProblemRoute
from sigrl.service.http.compat.tagging import read_photographs, tag_photographs
from sigrl.service.http.content import read_json_as
from sigrl.service.http.openapi import json_body
from sigrl.service.http.problems import documented
from sigrl.service.http.scopes import NEEDS_TAG
from sigrl.service.http.state import ServiceState, service_state
from sigrl.service.schemas.compat.huggingface import ZeroShotParameters, ZeroShotRequest, ZeroShotScore
from sigrl.service.schemas.tagging import Tagging
from sigrl.service.tagging.selection import Selection
from sigrl.service.vocabularies import builtin as vocabularies

router = APIRouter(tags=["other clients"], dependencies=[NEEDS_TAG], route_class=ProblemRoute)

_HINT = 'send {"inputs": "BASE64", "parameters": {"candidate_labels": ["dog", "cat"]}}'


@router.post(
    "/compat/huggingface",
    responses=documented(408, 413, 415, 422, 429, 500, 503, 504, 507),
    openapi_extra=json_body(ZeroShotRequest),
)
async def classify_zero_shot(
    request: Request, state: Annotated[ServiceState, Depends(service_state)]
) -> list[ZeroShotScore]:
    """Hugging Face's zero-shot image classification: the probability of each label, most probable first.

    Each label is judged independently of the others, unlike a softmax over all of them: the scores do not sum
    to 1, and all of them are low if none of the labels applies.
    """
    state.ready_tagger.check_room()
    asked = await read_json_as(request, ZeroShotRequest, _HINT)
    vocabulary = await to_thread.run_sync(_vocabulary, asked.parameters)
    photographs = await read_photographs([asked.inputs], state)
    selection = Selection(top_k=len(vocabulary.labels))
    (tagging,) = await tag_photographs(photographs, vocabulary, selection, state)
    assert isinstance(tagging, Tagging)
    return [ZeroShotScore(label=tag.label, score=tag.probability) for tag in tagging.tags]


def _vocabulary(parameters: ZeroShotParameters) -> Vocabulary:
    given = parameters.candidate_labels
    if isinstance(given, str):
        vocabulary = vocabularies.parse_labels([given])
    else:
        vocabulary = vocabularies.from_names(given)
    if parameters.hypothesis_template is None:
        return vocabulary
    prompt = parameters.hypothesis_template.replace("{}", "{label}")
    try:
        return Vocabulary(labels=tuple(Label(name=name, prompts=(prompt,)) for name in vocabulary.names))
    except ValueError as error:
        raise InvalidLabelsError(f"the template cannot be used: {error}", _HINT) from error
