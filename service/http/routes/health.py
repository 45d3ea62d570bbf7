"""Health, readiness and metrics, for operators and probes."""

from typing import Annotated

from fastapi import APIRouter, Depends
from fastapi.responses import Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from sigrl.service.errors import NotReadyError
from sigrl.service.http.problems import documented
from sigrl.service.http.state import ServiceState, service_state
from sigrl.service.observability import metrics
from sigrl.service.schemas.health import Health, Readiness
from sigrl.service.schemas.tagging import VocabularyInfo

router = APIRouter(tags=["operation"])


@router.head("/healthz", include_in_schema=False)
@router.get("/healthz")
async def health() -> Health:
    """Whether the process is alive. If there is no answer, restart it."""
    return Health()


@router.get("/readyz", responses=documented(503))
async def readiness(state: Annotated[ServiceState, Depends(service_state)]) -> Readiness:
    """Whether this process can take requests: the model has tagged something within the last minute or does
    so now, and the process is not shutting down."""
    if state.leaving:
        raise NotReadyError("the process was told to stop", "send requests elsewhere")
    tagger = state.ready_tagger
    await tagger.check_ready()
    return Readiness(checkpoint=tagger.checkpoint, vocabulary=VocabularyInfo.of(tagger.vocabulary))


@router.get("/metrics", response_class=Response)
async def prometheus_metrics() -> Response:
    """Metrics for Prometheus."""
    return Response(generate_latest(metrics.REGISTRY), media_type=CONTENT_TYPE_LATEST)
