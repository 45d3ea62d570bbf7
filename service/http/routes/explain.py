"""POST /v1/explain."""

from copy import deepcopy
from functools import partial
from typing import Annotated, Any

from anyio import to_thread
from fastapi import APIRouter, Depends, Request, Response

from sigrl.service.drawing.heat_maps import MAX_SIDE, overlay_png
from sigrl.service.errors import ParameterError, RequestError
from sigrl.service.http.content import accepts
from sigrl.service.http.problems import documented
from sigrl.service.http.scopes import NEEDS_TAG
from sigrl.service.http.state import ServiceState, service_state
from sigrl.service.http.tag_openapi import OPENAPI
from sigrl.service.http.tag_request import in_accepted_language, read_tag_request
from sigrl.service.http.tag_response import server_timing
from sigrl.service.images.files import ImageLimits
from sigrl.service.schemas.tagging import Explanation
from sigrl.service.tagging.explaining import Explain, explained
from sigrl.service.tagging.selection import THRESHOLDS

router = APIRouter(tags=["tagging"], dependencies=[NEEDS_TAG])

PNG = "image/png"
_PNG_CONTENT = {PNG: {"schema": {"type": "string", "format": "binary"}}}


def _openapi() -> dict[str, Any]:
    """The OpenAPI description of POST /v1/tag, reduced to one photograph and fewer parameters."""
    document = deepcopy(OPENAPI)
    left_out = (*THRESHOLDS, "Idempotency-Key")
    document["parameters"] = [each for each in document["parameters"] if each["name"] not in left_out]
    how_many = "Number of the most probable labels to explain; at most 32."
    for each in document["parameters"]:
        if each["name"] == "top_k":
            each["schema"]["maximum"] = 32
            each["description"] = how_many
        if each["name"] == "vocabulary":
            each["schema"]["maxItems"] = 1
    properties = document["requestBody"]["content"]["multipart/form-data"]["schema"]["properties"]
    for name in THRESHOLDS:
        del properties[name]
    properties["top_k"] |= {"maximum": 32, "description": how_many}
    properties["vocabulary"]["maxItems"] = 1
    properties["image"] = properties["image"]["items"]
    del document["requestBody"]["content"]["application/json"]
    return document


@router.post(
    "/v1/explain",
    response_model=Explanation,
    responses={
        200: {
            "description": "A grid for each label, or with `Accept: image/png` a picture for one label.",
            "content": _PNG_CONTENT,
        },
        **documented(408, 409, 413, 415, 422, 429, 500, 503, 504, 507),
    },
    openapi_extra=_openapi(),
)
async def explain(request: Request, state: Annotated[ServiceState, Depends(service_state)]) -> Response:
    """Shows where in one photograph the model sees each label.

    Send the photograph and the labels as for POST /v1/tag. Up to 32 labels are all explained; of more labels,
    the ten most probable are. Without labels and vocabulary, the tags are, or the guesses if there is none.
    `top_k` explains that many of the most probable labels. Each label gets a grid of numbers from 0 to 1 over
    the photograph. Each grid is scaled separately, so it shows where a label may be, not whether it applies:
    use the probability for that.

    With `Accept: image/png` and one label in `labels`, the answer is the photograph in grey, at most 1024
    pixels a side, overlaid with the label's map in colours from violet (0) to yellow (1).
    """
    tagger = state.ready_tagger
    tagger.check_room()
    asked = await read_tag_request(request, state.settings, state.vocabularies, state.fetcher)
    asked = in_accepted_language(asked, request)
    if len(asked.uploads) != 1:
        raise RequestError(f"there are {len(asked.uploads)} photographs", "send one photograph per request")
    for name in THRESHOLDS:
        if getattr(asked.selection, name) is not None:
            raise ParameterError(f"there is no parameter `{name}` here", "use labels, vocabulary or top_k")
    if len(asked.vocabularies) > 1:
        raise ParameterError("there are several vocabularies", "give one")
    vocabulary = asked.vocabularies[0] if asked.vocabularies else tagger.vocabulary
    languages = asked.selection.languages
    selection = explained(
        vocabulary, asked.selection.top_k, brief=not asked.vocabularies, languages=languages
    )
    wants_png = accepts(request, PNG)
    if wants_png and len(vocabulary.labels) != 1:
        raise ParameterError(
            f"a picture shows one label, and {len(vocabulary.labels):,} are asked for",
            "give one label in `labels`, or ask for application/json",
        )
    photograph = asked.uploads[0].data
    async with tagger.tag_many([photograph], [vocabulary], selection, Explain, asked.checkpoint) as tags:
        (finished,) = await tags.in_order()
    if isinstance(finished.outcome, Exception):
        raise finished.outcome
    assert isinstance(photograph, bytes)
    (explanation,) = finished.outcome
    assert isinstance(explanation, Explanation)
    headers = {"Server-Timing": server_timing([finished]), "Vary": "Accept"}
    if not wants_png:
        body = await to_thread.run_sync(explanation.model_dump_json)
        return Response(body, headers=headers, media_type="application/json")
    limits = ImageLimits.of(state.settings)
    # Both steps run in a decoder process, which can be killed; the map is drawn on the small copy.
    copy = await tagger.in_decoder(partial(tagger.small_copy, photograph, MAX_SIDE))
    draw = partial(overlay_png, copy, limits, explanation.tags[0].grid, explanation.square)
    return Response(await tagger.in_decoder(draw), headers=headers, media_type=PNG)
