"""The application: `uvicorn service.app:create_app --factory`, or `sigrl serve`."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from anyio import to_thread
from fastapi import FastAPI

from service import metrics, problems, version
from service.errors import ParameterError
from service.middleware import BodyLimit, CancelOnDisconnect, RequestContext, SameOrigin
from service.routes import (
    calibration,
    checkpoints,
    dry_run,
    embeddings,
    explain,
    feedback,
    health,
    tag,
    vocabularies,
)
from service.runtime import Runtime
from service.settings import Settings
from service.state import ServiceState
from service.tagger import Tagger
from service.vocabularies.registry import VocabularyRegistry

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

_TRACES_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")


def create_app(
    settings: Settings | None = None,
    tagger: Tagger | None = None,
    registry: VocabularyRegistry | None = None,
    runtime: Runtime | None = None,
) -> FastAPI:
    """Builds the service.

    Args:
        settings: from the environment if not given.
        tagger: active from the start, in place of what the settings describe or was activated last.
        registry: used in place of one on the database that the settings name; closed at the end.
        runtime: used in place of one of tagger, settings and database; closed at the end.
    """
    state = ServiceState(settings or Settings(), registry, runtime)
    tracing = _tracing()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await state.start(tagger)
        yield
        await state.stop()
        if tracing is not None:
            await to_thread.run_sync(tracing.shutdown)

    app = FastAPI(
        title="SigRL Tagger",
        version=version(),
        summary="Photographs and labels in your own words in, tags with probabilities out.",
        lifespan=lifespan,
    )
    app.state.service = state
    metrics.BUILD.labels(version(), state.settings.engine).set(1)
    problems.install(app)
    app.add_middleware(BodyLimit, max_bytes=state.settings.max_request_bytes)
    app.add_middleware(CancelOnDisconnect)
    app.add_middleware(SameOrigin)
    app.add_middleware(RequestContext)
    if tracing is not None:
        from service.tracing import Traces

        app.add_middleware(Traces, provider=tracing)
    for module in (
        tag,
        explain,
        embeddings,
        vocabularies,
        calibration,
        dry_run,
        feedback,
        checkpoints,
        health,
    ):
        app.include_router(module.router)
    return app


def _tracing() -> "TracerProvider | None":
    """Where spans go; None unless OpenTelemetry's own variables say where. Raises ParameterError."""
    wanted = next((name for name in _TRACES_ENDPOINTS if os.environ.get(name)), None)
    if wanted is None:
        return None
    try:
        from service.tracing import otlp_provider
    except ModuleNotFoundError as error:
        raise ParameterError(
            f"{wanted} is set, and OpenTelemetry is not installed",
            "pip install 'sigrl-tagger[otel]', or unset the variable",
        ) from error
    return otlp_provider()
