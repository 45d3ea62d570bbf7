"""The application: `uvicorn sigrl.service.app:create_app --factory`, or `sigrl serve`."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from anyio import to_thread
from fastapi import Depends, FastAPI
from starlette.middleware.cors import CORSMiddleware

from sigrl import version
from sigrl.service.checkpoints.runtime import Runtime
from sigrl.service.errors import ParameterError
from sigrl.service.http import openapi, problems
from sigrl.service.http.bodies import BodyLimits
from sigrl.service.http.compat import cvat, huggingface, label_studio, photoprism
from sigrl.service.http.compat import openai as openai_embeddings
from sigrl.service.http.guard import Guard
from sigrl.service.http.middleware import (
    REQUEST_ID_HEADER,
    CancelOnDisconnect,
    RequestContext,
    SameOrigin,
)
from sigrl.service.http.parameters import refuse_unknown_parameters
from sigrl.service.http.routes import (
    calibration,
    checkpoints,
    dry_run,
    embeddings,
    explain,
    feedback,
    health,
    page,
    preview,
    suggesting,
    tag,
    vocabularies,
)
from sigrl.service.http.state import ServiceState
from sigrl.service.observability import metrics
from sigrl.service.settings import Settings
from sigrl.service.tagging.tagger import Tagger
from sigrl.service.vocabularies.registry import VocabularyRegistry

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

_ROUTERS = (
    tag.router,
    explain.router,
    preview.router,
    embeddings.router,
    vocabularies.router,
    calibration.router,
    suggesting.router,
    dry_run.router,
    feedback.router,
    checkpoints.router,
    huggingface.router,
    openai_embeddings.router,
    photoprism.router,
    label_studio.router,
    cvat.router,
)
_METHODS = ("GET", "POST", "PUT", "DELETE")
_READ = ("Authorization", "Content-Type", "Idempotency-Key", "If-Match", "If-None-Match", REQUEST_ID_HEADER)
_EXPOSED = (
    "ETag",
    "Idempotent-Replayed",
    "Location",
    "Retry-After",
    "Server-Timing",
    "WWW-Authenticate",
    REQUEST_ID_HEADER,
)
_TRACES_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")


def create_app(
    settings: Settings | None = None,
    tagger: Tagger | None = None,
    registry: VocabularyRegistry | None = None,
    runtime: Runtime | None = None,
) -> FastAPI:
    """Builds the service.

    Args:
        settings: read from the environment if not given.
        tagger: active from the start, in place of the checkpoint that the settings name or that was
            activated last.
        registry: replaces the registry on the database that the settings name; closed at shutdown.
        runtime: replaces the runtime built from tagger, settings and database; closed at shutdown.
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
        # FastAPI's own pages load scripts from a CDN; the `page` router serves /docs instead.
        docs_url=None,
        redoc_url=None,
        generate_unique_id_function=openapi.operation_id,
    )
    openapi.install(app)
    app.state.service = state
    metrics.BUILD.labels(version(), state.settings.engine).set(1)
    problems.install(app)
    app.add_middleware(BodyLimits, settings=state.settings)
    app.add_middleware(CancelOnDisconnect)
    app.add_middleware(Guard, settings=state.settings, state=state, routers=_ROUTERS)
    app.add_middleware(SameOrigin, allowed=state.settings.cors_origins)
    if state.settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=state.settings.cors_origins,
            allow_methods=_METHODS,
            allow_headers=_READ,
            expose_headers=_EXPOSED,
        )
    app.add_middleware(RequestContext)
    if tracing is not None:
        from sigrl.service.observability.tracing import Traces

        app.add_middleware(Traces, provider=tracing)
    for router in _ROUTERS:
        app.include_router(
            router,
            dependencies=[Depends(refuse_unknown_parameters)],
            responses=problems.documented(401, 403, 422, 429),
        )
    app.include_router(health.router)
    app.include_router(page.router)
    return app


def _tracing() -> "TracerProvider | None":
    """The provider that exports spans, or None if no OpenTelemetry endpoint variable is set.

    Raises ParameterError if one is set and OpenTelemetry is not installed.
    """
    wanted = next((name for name in _TRACES_ENDPOINTS if os.environ.get(name)), None)
    if wanted is None:
        return None
    try:
        from sigrl.service.observability.tracing import otlp_provider
    except ModuleNotFoundError as error:
        raise ParameterError(
            f"{wanted} is set, and OpenTelemetry is not installed",
            "pip install 'sigrl-tagger[otel]', or unset the variable",
        ) from error
    return otlp_provider()
