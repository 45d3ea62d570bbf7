"""POST /v1/vocabularies/{name}/dry-run."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request

from sigrl.service.batching.threads import in_database_thread
from sigrl.service.http.problems import documented
from sigrl.service.http.routes.vocabularies import BODY, read_vocabulary
from sigrl.service.http.scopes import NEEDS_VOCABULARY
from sigrl.service.http.state import ServiceState, service_state
from sigrl.service.schemas.dry_run import DryRun
from sigrl.service.serving.dry_run import dry_run

router = APIRouter(prefix="/v1/vocabularies/{name}", tags=["vocabularies"], dependencies=[NEEDS_VOCABULARY])


@router.post(
    "/dry-run",
    responses=documented(404, 408, 409, 413, 415, 422, 429, 500, 503, 504),
    openapi_extra={"requestBody": BODY},
)
async def try_vocabulary(
    name: str, request: Request, state: Annotated[ServiceState, Depends(service_state)]
) -> DryRun:
    """Reports how a PUT of the same body would change the tags of recent photographs. Nothing is changed.

    The service remembers as many photographs as SIGRL_RECENT_PHOTOGRAPHS says, and only their features.
    """
    tagger = state.ready_tagger
    before = await in_database_thread(state.vocabularies.get, name)
    after = await read_vocabulary(request)
    named = after.model_copy(update={"name": name, "version": None, "calibration": before.calibration})
    return await dry_run(tagger, before, named)
