"""/api/functions: vocabularies as functions for CVAT's automatic annotation, in place of nuclio."""

import json
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Request

from sigrl.model.vocabulary import Vocabulary
from sigrl.service.batching.threads import waits_for_database
from sigrl.service.http.compat.tagging import (
    VocabularyPath,
    named_vocabulary,
    read_photographs,
    tag_photographs,
)
from sigrl.service.http.content import read_json_as
from sigrl.service.http.openapi import json_body
from sigrl.service.http.problems import documented
from sigrl.service.http.scopes import NEEDS_TAG
from sigrl.service.http.state import ServiceState, service_state
from sigrl.service.schemas.compat.cvat import (
    CvatFunction,
    CvatTag,
    FunctionAnnotations,
    FunctionMetadata,
    FunctionSpec,
    Invocation,
)
from sigrl.service.schemas.tagging import Tagging
from sigrl.service.tagging.selection import Selection
from sigrl.service.vocabularies.builtin import NAME

router = APIRouter(prefix="/api", tags=["other clients"], dependencies=[NEEDS_TAG])

MAX_FUNCTIONS = 1000
State = Annotated[ServiceState, Depends(service_state)]
Name = Annotated[str, Header(json_schema_extra={"pattern": f"^{NAME.pattern}$"})]


@router.get("/functions", responses=documented(503))
@waits_for_database
def list_functions(state: State) -> dict[str, CvatFunction]:
    """The vocabularies as functions of nuclio, by name; at most a thousand."""
    registry = state.vocabularies
    names = [entry.name for entry in registry.entries("", MAX_FUNCTIONS)]
    return {name: _function(registry.get(name)) for name in names}


@router.get("/functions/{name}", responses=documented(404, 503))
@waits_for_database
def get_function(name: VocabularyPath, state: State) -> CvatFunction:
    """One vocabulary as a function of nuclio."""
    return _function(state.vocabularies.get(name))


@router.post(
    "/function_invocations",
    responses=documented(404, 408, 413, 415, 500, 503, 504, 507),
    openapi_extra=json_body(Invocation),
)
async def invoke_function(request: Request, state: State, x_nuclio_function_name: Name) -> list[CvatTag]:
    """The tags of one frame, by the vocabulary that the header names."""
    state.ready_tagger.check_room()
    asked = await read_json_as(request, Invocation, 'send {"image": "BASE64"}')
    vocabulary = await named_vocabulary(x_nuclio_function_name, state)
    photographs = await read_photographs([asked.image], state)
    selection = Selection(threshold=asked.threshold)
    (tagging,) = await tag_photographs(photographs, vocabulary, selection, state)
    assert isinstance(tagging, Tagging)
    return [CvatTag(label=tag.label, confidence=str(tag.probability)) for tag in tagging.tags]


def _function(vocabulary: Vocabulary) -> CvatFunction:
    labels = [{"id": row, "name": name, "type": "tag"} for row, name in enumerate(vocabulary.names)]
    annotations = FunctionAnnotations(name=f"SigRL: {vocabulary.name}", spec=json.dumps(labels))
    return CvatFunction(
        metadata=FunctionMetadata(name=vocabulary.name, annotations=annotations),
        spec=FunctionSpec(description=f"Tags of the vocabulary {vocabulary.name}"),
    )
