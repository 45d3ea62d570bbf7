"""/v1/checkpoints: shows which checkpoint answers, and replaces it with another one."""

from typing import Annotated

from fastapi import APIRouter, Body, Depends, Response

from sigrl.service.batching.threads import waits_for_database
from sigrl.service.checkpoints.bundles import BundleStore
from sigrl.service.checkpoints.runtime import Runtime
from sigrl.service.errors import StoreError, TaggerError
from sigrl.service.http.bodies import OptionsRoute
from sigrl.service.http.problems import documented
from sigrl.service.http.scopes import NEEDS_ADMIN, NEEDS_TAG
from sigrl.service.http.state import ServiceState, service_state
from sigrl.service.schemas.checkpoints import (
    ActivateRequest,
    BundleInfo,
    CheckpointInfo,
    CheckpointList,
    LoadRequest,
    ShadowRequest,
)
from sigrl.service.schemas.drift import DriftReport

router = APIRouter(prefix="/v1/checkpoints", tags=["checkpoints"], route_class=OptionsRoute)


async def _runtime(state: Annotated[ServiceState, Depends(service_state)]) -> Runtime:
    return state.ready_tagger.runtime


Checkpoints = Annotated[Runtime, Depends(_runtime)]


@router.get("", dependencies=[NEEDS_TAG], responses=documented(503))
@waits_for_database
def list_checkpoints(
    runtime: Checkpoints, state: Annotated[ServiceState, Depends(service_state)]
) -> CheckpointList:
    """Lists the checkpoints of this process, the bundles that can be loaded, and the activation that each
    replica currently uses. A checkpoint activated on one replica is loaded and activated on all the others;
    `promoted` is true when all have finished."""
    previous = runtime.table.previous
    try:
        replicas, newest = state.replicas.live(), runtime.newest_activation()
    except StoreError:
        replicas, promoted = [], None
    else:
        wanted = runtime.generation if newest is None else newest.generation
        promoted = all(each.generation == wanted for each in replicas)
    return CheckpointList(
        generation=runtime.generation,
        active=runtime.table.active.id,
        previous=None if previous is None else previous.id,
        problem=runtime.problem,
        checkpoints=tuple(runtime.table.infos()),
        bundles=tuple(_bundle(runtime.bundles, name) for name in runtime.bundles.names()),
        replica=state.replica,
        replicas=tuple(replicas),
        promoted=promoted,
    )


@router.post(
    "/load", dependencies=[NEEDS_ADMIN], status_code=202, responses=documented(404, 409, 413, 422, 503)
)
def load_checkpoint(asked: LoadRequest, runtime: Checkpoints, response: Response) -> CheckpointInfo:
    """Starts loading a bundle in the background. Loading verifies its hashes, tags a test image and encodes
    every vocabulary in use. GET /v1/checkpoints/{id} reports the progress; the active checkpoint continues to
    answer. A bundle that is already in memory is left unchanged."""
    info = runtime.load(asked.bundle)
    response.headers["Location"] = f"{router.prefix}/{info.id}"
    return info


@router.post("/rollback", dependencies=[NEEDS_ADMIN], responses=documented(409, 503))
def roll_back(runtime: Checkpoints) -> CheckpointInfo:
    """Reactivates the previously active checkpoint at once. If it is not in memory, for example after a
    restart, its bundle is loaded first, and the active checkpoint continues to answer."""
    return runtime.rollback()


@router.get("/{checkpoint_id}", dependencies=[NEEDS_TAG], responses=documented(404, 422, 503))
def get_checkpoint(checkpoint_id: str, runtime: Checkpoints) -> CheckpointInfo:
    """The current state of one checkpoint."""
    return runtime.table.info(runtime.table.get(checkpoint_id))


@router.post(
    "/{checkpoint_id}/activate", dependencies=[NEEDS_ADMIN], responses=documented(404, 409, 413, 422, 503)
)
@waits_for_database
def activate_checkpoint(
    checkpoint_id: str, runtime: Checkpoints, asked: Annotated[ActivateRequest | None, Body()] = None
) -> CheckpointInfo:
    """Activates a checkpoint that is ready. Requests already begun are finished by the previous checkpoint,
    which then stays in memory for a rollback. If the settings limit the drift and the checkpoint exceeds the
    limit, the answer is 409 with the drift report."""
    return runtime.activate(checkpoint_id, force=asked is not None and asked.force)


@router.post(
    "/{checkpoint_id}/shadow", dependencies=[NEEDS_ADMIN], responses=documented(404, 409, 413, 422, 503)
)
def shadow_checkpoint(
    checkpoint_id: str, runtime: Checkpoints, asked: Annotated[ShadowRequest | None, Body()] = None
) -> CheckpointInfo:
    """Starts a shadow: a checkpoint that is ready also tags a share of the photographs, and the service
    counts how its answers differ. Clients do not see these answers. Only one checkpoint can be the shadow,
    and it is skipped under load."""
    return runtime.shadow(checkpoint_id, None if asked is None else asked.share)


@router.get("/{checkpoint_id}/drift", dependencies=[NEEDS_TAG], responses=documented(404, 422, 503))
def get_drift(checkpoint_id: str, runtime: Checkpoints) -> DriftReport:
    """Reports how a checkpoint's answers differ from those of the active checkpoint, measured on the
    photographs it has tagged as the shadow."""
    return runtime.drift(checkpoint_id)


@router.post("/{checkpoint_id}/unload", dependencies=[NEEDS_ADMIN], responses=documented(404, 409, 422, 503))
def unload_checkpoint(checkpoint_id: str, runtime: Checkpoints) -> CheckpointInfo:
    """Unloads a checkpoint as soon as its requests are answered, or stops loading it."""
    return runtime.unload(checkpoint_id)


def _bundle(bundles: BundleStore, name: str) -> BundleInfo:
    try:
        found = bundles.find(name)
        return BundleInfo(
            bundle=name, checkpoint=found.checkpoint_id, calibrated=found.calibrated, problem=None
        )
    except TaggerError as error:
        return BundleInfo(bundle=name, checkpoint=None, problem=str(error))
