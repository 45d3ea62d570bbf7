"""/v1/vocabularies/{name}/candidates and .../suggest: which photographs to label next."""

from typing import Annotated

import numpy as np
from anyio import to_thread
from fastapi import APIRouter, Depends, Request, Response
from pydantic import ValidationError

from sigrl.service.batching.threads import in_database_thread
from sigrl.service.errors import ContentTypeError, ExamplesError, ParameterError
from sigrl.service.http.content import JSON, first_fault, media_type, read_json
from sigrl.service.http.openapi import json_body
from sigrl.service.http.problems import documented
from sigrl.service.http.scopes import NEEDS_TAG
from sigrl.service.http.state import ServiceState, service_state
from sigrl.service.http.tag_openapi import photographs_alone
from sigrl.service.http.tag_request import TagRequest, read_tag_request
from sigrl.service.http.tag_response import failed_image, fault, server_timing
from sigrl.service.schemas.suggesting import Candidate, CandidatesAnswer, Suggestion, SuggestionRequest
from sigrl.service.schemas.tags import FailedImage
from sigrl.service.serving.outcomes import ImageResult
from sigrl.service.serving.weighing import Weigh, Weighed
from sigrl.service.tagging.selection import Selection
from sigrl.service.vocabularies.suggesting import suggest as choose

router = APIRouter(prefix="/v1/vocabularies/{name}", tags=["vocabularies"], dependencies=[NEEDS_TAG])


@router.post(
    "/candidates",
    response_model=CandidatesAnswer,
    responses=documented(404, 408, 413, 415, 422, 429, 500, 503, 504, 507),
    openapi_extra=photographs_alone(several=True),
)
async def candidates(
    name: str, request: Request, state: Annotated[ServiceState, Depends(service_state)]
) -> Response:
    """Weighs photographs that could be labelled for a vocabulary. Nothing of them is stored.

    Send them as for POST /v1/tag, in as many requests as you like, and then what is returned of all of them
    to `POST .../suggest`, which says which ones to label.
    """
    tagger = state.ready_tagger
    tagger.check_room()
    vocabulary = await in_database_thread(state.vocabularies.get, name)
    asked = await read_tag_request(request, state.settings, state.vocabularies, state.fetcher)
    if asked.vocabularies or asked.checkpoint or asked.selection != Selection(brief=True):
        raise ParameterError("there are parameters beside the photographs", "send photographs alone")
    photographs = [upload.data for upload in asked.uploads]
    async with tagger.tag_many(photographs, [vocabulary], Selection(1), Weigh) as tags:
        finished = await tags.in_order()
    if (error := fault(finished)) is not None:
        raise error
    images = tuple(_image(asked, each, request.state.request_id) for each in finished)
    answer = CandidatesAnswer(checkpoint=tags.checkpoint, vocabulary=tags.vocabularies[0], images=images)
    body = await to_thread.run_sync(answer.model_dump_json)
    return Response(body, headers={"Server-Timing": server_timing(finished)}, media_type=JSON)


@router.post(
    "/suggest",
    responses=documented(404, 408, 413, 415, 422, 429, 500, 503, 504),
    openapi_extra=json_body(SuggestionRequest),
)
async def suggest(
    name: str, request: Request, state: Annotated[ServiceState, Depends(service_state)]
) -> Suggestion:
    """Chooses among candidates those whose labels teach the vocabulary most: the uncertain ones, and none
    that is like another. Label them in this order, and stop when you like; then calibrate."""
    await in_database_thread(state.vocabularies.entry, name)
    if media_type(request) != JSON:
        raise ContentTypeError("the body is not JSON", "send the candidates as application/json")
    return await to_thread.run_sync(_suggestion, await read_json(request))


def _suggestion(body: bytes) -> Suggestion:
    try:
        asked = SuggestionRequest.model_validate_json(body)
    except ValidationError as error:
        raise ParameterError(
            f"the candidates cannot be used: {first_fault(error)}",
            "send `embedding` and `doubt` of POST .../candidates as embeddings and doubts",
        ) from error
    sizes = {len(embedding) for embedding in asked.embeddings}
    if len(sizes) > 1 or len(asked.embeddings) != len(asked.doubts):
        raise ExamplesError(
            "the embeddings differ in length, or there are more or fewer of them than doubts",
            "send the candidates of one checkpoint, each with its embedding and its doubt",
        )
    embeddings = np.asarray(asked.embeddings, np.float32)
    return Suggestion(suggested=tuple(choose(embeddings, np.asarray(asked.doubts), asked.count)))


def _image(asked: TagRequest, finished: ImageResult, request_id: str) -> Candidate | FailedImage:
    filename = asked.uploads[finished.number].filename
    if isinstance(finished.outcome, Exception):
        return failed_image(filename, finished.outcome, request_id)
    (weighed,) = finished.outcome
    assert isinstance(weighed, Weighed)
    return Candidate(
        filename=filename, embedding=weighed.embedding, doubt=weighed.doubt, likely=weighed.likely
    )
