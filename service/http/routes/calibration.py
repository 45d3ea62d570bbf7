"""/v1/vocabularies/{name}/calibration: fits probabilities and thresholds to the user's own photographs."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request

from sigrl.service.batching.threads import in_database_thread
from sigrl.service.http.calibration_request import Shown, read_calibration_request
from sigrl.service.http.problems import documented
from sigrl.service.http.scopes import NEEDS_TAG, NEEDS_VOCABULARY
from sigrl.service.http.state import ServiceState, service_state
from sigrl.service.schemas.calibration import CalibrationReport, HygieneReport
from sigrl.service.serving.calibration import Calibrating

router = APIRouter(prefix="/v1/vocabularies/{name}", tags=["vocabularies"])

# Written by hand because the route reads the form itself to limit its size.
_FORM: dict[str, Any] = {
    "type": "object",
    "properties": {
        "image": {
            "type": "array",
            "items": {"type": "string", "format": "binary"},
            "description": "Photographs.",
        },
        "examples": {
            "type": "string",
            "contentMediaType": "application/json",
            "contentSchema": {"type": "array", "items": Shown.model_json_schema()},
            "description": "What each photograph shows, in the order of the photographs: a JSON list of "
            'objects with `positive` and `negative`, both lists of labels. `"negative": "others"` stands for '
            "all other labels of the vocabulary. Labels in neither list are unknown.",
            "examples": ['[{"positive": ["dog"], "negative": ["cat"]}]'],
        },
        "goal": {
            "type": "string",
            "enum": ["f1", "precision", "recall", "false-positive-rate"],
            "default": "f1",
            "description": "What thresholds are optimised for: the best F1, a precision or a recall on the "
            "examples, or a false-positive rate on everyday photographs, which needs no examples.",
        },
        "value": {
            "type": "number",
            "exclusiveMinimum": 0,
            "exclusiveMaximum": 1,
            "description": "The precision, the recall or the rate.",
        },
        "replace": {
            "type": "boolean",
            "default": False,
            "description": "Whether to delete the examples that are already stored.",
        },
    },
    "additionalProperties": False,
}
_OPENAPI = {"requestBody": {"content": {"multipart/form-data": {"schema": _FORM}}}}


async def _calibrating(state: Annotated[ServiceState, Depends(service_state)]) -> Calibrating:
    return Calibrating(state.ready_tagger, state.vocabularies, state.settings)


Calibrations = Annotated[Calibrating, Depends(_calibrating)]


@router.post(
    "/calibrate",
    dependencies=[NEEDS_VOCABULARY],
    responses=documented(403, 404, 408, 413, 415, 422, 429, 500, 503, 504, 507),
    openapi_extra=_OPENAPI,
)
async def calibrate(
    name: str,
    request: Request,
    state: Annotated[ServiceState, Depends(service_state)],
    calibrating: Calibrations,
) -> CalibrationReport:
    """Fits a vocabulary's probabilities and thresholds to labelled photographs. A few per label are enough.

    The service keeps small copies of the photographs, so that it can fit every later checkpoint before that
    checkpoint answers. Photographs accumulate over requests; if a photograph is sent again, its new labels
    replace the earlier ones. The best examples are a sample of the photographs you expect to tag, including
    some that show none of the labels. Answers give the calibration's number.
    """
    vocabulary = await in_database_thread(state.vocabularies.get, name)
    asked = await read_calibration_request(request, vocabulary, state.settings)
    return await calibrating.calibrate(name, asked.files, asked.goal, replace=asked.replace)


@router.get("/calibration", dependencies=[NEEDS_TAG], responses=documented(404, 422, 429, 500, 503, 504))
async def get_calibration(name: str, calibrating: Calibrations) -> CalibrationReport:
    """The current calibration, as the active checkpoint uses it."""
    return await calibrating.report(name)


@router.delete(
    "/calibration", dependencies=[NEEDS_VOCABULARY], status_code=204, responses=documented(403, 404, 422, 503)
)
async def forget_calibration(name: str, calibrating: Calibrations) -> None:
    """Deletes a vocabulary's calibrations and the copies of their photographs."""
    await calibrating.forget(name)


@router.get("/hygiene", dependencies=[NEEDS_TAG], responses=documented(404, 422, 429, 500, 503, 504))
async def judge_labels(name: str, calibrating: Calibrations) -> HygieneReport:
    """Lists labels of a vocabulary that need attention: labels that never or always apply, near-duplicates,
    and labels that the active checkpoint cannot tell apart."""
    return await calibrating.judge(name)
