"""/compat/label-studio/{name}: a vocabulary as an ML backend of Label Studio."""

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response

from sigrl.service.errors import ImageError, InvalidLabelsError
from sigrl.service.http.compat.labelling_config import ChoiceControl, read_config
from sigrl.service.http.compat.tagging import (
    VocabularyPath,
    named_vocabulary,
    read_photographs,
    tag_photographs,
)
from sigrl.service.http.content import read_json_as
from sigrl.service.http.openapi import json_body
from sigrl.service.http.problems import documented
from sigrl.service.http.scopes import NEEDS_TAG, NEEDS_VOCABULARY
from sigrl.service.http.state import ServiceState, service_state
from sigrl.service.images.label_studio_files import LabelStudioFiles
from sigrl.service.images.url_input import Budget
from sigrl.service.schemas.compat.label_studio import (
    BackendHealth,
    ChoicesRegion,
    ChoicesValue,
    ModelVersion,
    PredictAnswer,
    Prediction,
    PredictRequest,
    SetupRequest,
    Task,
    WebhookAnswer,
    WebhookEvent,
)
from sigrl.service.schemas.tagging import Tagging
from sigrl.service.serving.calibration import Calibrating
from sigrl.service.tagging.selection import Selection
from sigrl.service.vocabularies.examples import LabelledFile

router = APIRouter(prefix="/compat/label-studio/{name}", tags=["other clients"])

_HINT = "Label Studio sends this body; see /docs"
_CORRECTIONS = ("ANNOTATION_CREATED", "ANNOTATION_UPDATED")
_logger = logging.getLogger("sigrl")
_unfinished: set[asyncio.Task[Any]] = set()
State = Annotated[ServiceState, Depends(service_state)]


@router.get("/health", dependencies=[NEEDS_TAG], responses=documented(404, 503))
async def label_studio_health(name: VocabularyPath, state: State) -> BackendHealth:
    """Whether the vocabulary can be used."""
    await named_vocabulary(name, state)
    return BackendHealth()


@router.post(
    "/setup",
    dependencies=[NEEDS_TAG],
    responses=documented(404, 408, 413, 415, 503),
    openapi_extra=json_body(SetupRequest),
)
async def label_studio_setup(name: VocabularyPath, request: Request, state: State) -> ModelVersion:
    """Checks a project's labelling configuration: its choices must be labels of the vocabulary."""
    asked = await read_json_as(request, SetupRequest, _HINT)
    vocabulary = await named_vocabulary(name, state)
    read_config(asked.label_config).labels(vocabulary)
    return ModelVersion(model_version=state.ready_tagger.checkpoint)


@router.post(
    "/predict",
    dependencies=[NEEDS_TAG],
    responses=documented(404, 408, 413, 415, 500, 503, 504, 507),
    openapi_extra=json_body(PredictRequest),
)
async def label_studio_predict(name: VocabularyPath, request: Request, state: State) -> PredictAnswer:
    """Tags photographs in advance. Each gets the choices that reach their threshold; of a control with a
    single choice, the most probable of these."""
    state.ready_tagger.check_room()
    asked = await read_json_as(request, PredictRequest, _HINT)
    vocabulary = await named_vocabulary(name, state)
    control = read_config(asked.label_config)
    labels = control.labels(vocabulary)
    photographs = await _photographs(asked.tasks, control, state)
    outcomes = await tag_photographs(photographs, vocabulary, Selection(), state)
    version = next(each.checkpoint for each in outcomes if isinstance(each, Tagging))
    results = tuple(_prediction(each, control, labels, version) for each in outcomes)
    return PredictAnswer(results=results, model_version=version)


@router.post(
    "/webhook",
    dependencies=[NEEDS_VOCABULARY],
    status_code=201,
    responses={200: {"model": WebhookAnswer}, **documented(403, 404, 408, 413, 415, 500, 503, 504, 507)},
    openapi_extra=json_body(WebhookEvent),
)
async def label_studio_webhook(
    name: str, request: Request, response: Response, state: State
) -> WebhookAnswer:
    """Takes what people correct as examples that calibrate the vocabulary. A choice that was made is a label
    that applies, and every other one is a label that does not. Other events are ignored.

    The example is stored even if Label Studio, which waits a second for an answer, hangs up before.
    """
    event = await read_json_as(request, WebhookEvent, _HINT)
    is_answer = event.annotation is not None and not event.annotation.was_cancelled
    if event.action not in _CORRECTIONS or not is_answer or event.task is None or event.project is None:
        response.status_code = 200
        return WebhookAnswer(status="ignored")
    return await _to_the_end(_calibrate(name, event, state))


async def _to_the_end(work: Coroutine[Any, Any, WebhookAnswer]) -> WebhookAnswer:
    task = asyncio.create_task(work)
    _unfinished.add(task)
    task.add_done_callback(_finished)
    return await asyncio.shield(task)


def _finished(task: asyncio.Task[Any]) -> None:
    _unfinished.discard(task)
    if not task.cancelled() and (error := task.exception()) is not None:
        _logger.warning("an annotation of Label Studio was not stored: %s", error)


async def _calibrate(name: str, event: WebhookEvent, state: ServiceState) -> WebhookAnswer:
    assert event.project is not None
    assert event.task is not None
    assert event.annotation is not None
    control = read_config(event.project.label_config)
    labels = control.labels(await named_vocabulary(name, state))
    made = {
        choice
        for region in event.annotation.result
        if region.type == "choices" and region.from_name == control.name
        for choice in region.value.get("choices", ())
    }
    if strange := made - set(labels.values()):
        raise InvalidLabelsError(
            f"the annotation has the choice {min(strange)[:80]!a}, which is not in its configuration",
            "annotate the photograph again",
        )
    (photograph,) = await _photographs([event.task], control, state)
    if isinstance(photograph, ImageError):
        raise photograph
    shown = {label: choice in made for label, choice in labels.items()}
    calibrating = Calibrating(state.ready_tagger, state.vocabularies, state.settings)
    goal = await calibrating.goal(name)
    report = await calibrating.calibrate(name, [LabelledFile(None, photograph, shown)], goal, replace=False)
    return WebhookAnswer(status="calibrated", calibration=report.vocabulary.calibration)


async def _photographs(
    tasks: Sequence[Task], control: ChoiceControl, state: ServiceState
) -> list[bytes | ImageError]:
    addresses = [str(task.data.get(control.field, "")) for task in tasks]
    if empty := [number for number, address in enumerate(addresses) if not address]:
        raise InvalidLabelsError(
            f"task {empty[0]} has no field {control.field[:80]!a}",
            "it is named in the labelling configuration",
        )
    files = LabelStudioFiles(state.settings, state.fetcher)
    budget = Budget(state.settings.max_request_bytes)

    async def read(address: str) -> bytes | ImageError:
        if address.startswith(("/", "http://", "https://")):
            return await files.fetch(address, budget)
        (photograph,) = await read_photographs([address], state)
        return photograph

    return list(await asyncio.gather(*map(read, addresses)))


def _prediction(
    outcome: Tagging | Exception, control: ChoiceControl, labels: dict[str, str], version: str
) -> Prediction:
    tags = [] if isinstance(outcome, Exception) else [tag for tag in outcome.tags if tag.label in labels]
    tags = tags if control.is_multiple else tags[:1]
    if not tags:
        return Prediction(result=(), score=0.0, model_version=version)
    value = ChoicesValue(choices=tuple(labels[tag.label] for tag in tags))
    region = ChoicesRegion(from_name=control.name, to_name=control.photograph, value=value)
    score = sum(tag.probability for tag in tags) / len(tags)
    return Prediction(result=(region,), score=round(score, 6), model_version=version)
