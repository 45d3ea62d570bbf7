"""POST /v1/preview."""

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from sigrl.service.errors import ImageError, ParameterError, RequestError
from sigrl.service.http.problems import documented
from sigrl.service.http.scopes import NEEDS_TAG
from sigrl.service.http.state import ServiceState, service_state
from sigrl.service.http.tag_openapi import photographs_alone
from sigrl.service.http.tag_request import read_tag_request
from sigrl.service.tagging.selection import Selection

router = APIRouter(tags=["tagging"], dependencies=[NEEDS_TAG])

JPEG = "image/jpeg"
SIDE = 1024
"""Longest side of a preview, in pixels."""


@router.post(
    "/v1/preview",
    response_class=Response,
    responses={
        200: {
            "description": "The photograph as a JPEG.",
            "content": {JPEG: {"schema": {"type": "string", "format": "binary"}}},
        },
        **documented(403, 408, 413, 415, 422, 429, 500, 502, 503, 504, 507),
    },
    openapi_extra=photographs_alone(several=False),
)
async def preview(request: Request, state: Annotated[ServiceState, Depends(service_state)]) -> Response:
    """Shows one photograph as the service decodes it: an upright JPEG without metadata, at most 1024 pixels a
    side. Useful where a browser cannot show a format that the service reads, such as HEIC or a raw file."""
    tagger = state.ready_tagger
    tagger.check_room()
    asked = await read_tag_request(request, state.settings, state.vocabularies, state.fetcher)
    if len(asked.uploads) != 1:
        raise RequestError(f"there are {len(asked.uploads)} photographs", "send one photograph per request")
    if asked.vocabularies or asked.checkpoint or asked.selection != Selection(brief=True):
        raise ParameterError("there are parameters beside the photograph", "send the photograph alone")
    photograph = asked.uploads[0].data
    if isinstance(photograph, ImageError):
        raise photograph
    copy = await tagger.in_decoder(partial(tagger.small_copy, photograph, SIDE))
    return Response(copy, media_type=JPEG)
