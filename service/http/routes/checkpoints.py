"""/v1/checkpoints: which checkpoint answers, and how another one takes over."""

from typing import Annotated

from fastapi import APIRouter, Body, Depends, Response

from sigrl.service.batching.threads import waits_for_database
from sigrl.service.checkpoints.bundles import BundleStore
from sigrl.service.checkpoints.runtime import Runtime
from sigrl.service.errors import StoreError, TaggerError
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

router = APIRouter(prefix="/v1/checkpoints", tags=["checkpoints"])


async def _runtime(state: Annotated[ServiceState, Depends(service_state)]) -> Runtime:
    return state.ready_tagger.runtime


Checkpoints = Annotated[Runtime, Depends(_runtime)]


@router.get("", dependencies=[NEEDS_TAG], responses=documented(503))
@waits_for_database
def list_checkpoints(
    runtime: Checkpoints, state: Annotated[ServiceState, Depends(service_state)]
) -> CheckpointList:
    """The checkpoints of this process, the bundles that could be loaded, and by which activation each replica
    answers: what is activated on one is loaded and activated on all others, and is promoted then."""
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


@router.post("/load", dependencies=[NEEDS_ADMIN], status_code=202, responses=documented(404, 409, 422, 503))
def load_checkpoint(asked: LoadRequest, runtime: Checkpoints, response: Response) -> CheckpointInfo:
    """Begins to load a bundle in the background: its hashes are verified, it tags a picture, and it encodes
    every vocabulary in use. GET /v1/checkpoints/{id} tells how far it is; the active one answers meanwhile.
    A bundle that is in memory already stays as it is."""
    info = runtime.load(asked.bundle)
    response.headers["Location"] = f"{router.prefix}/{info.id}"
    return info


@router.post("/rollback", dependencies=[NEEDS_ADMIN], responses=documented(409, 503))
def roll_back(runtime: Checkpoints) -> CheckpointInfo:
    """Brings the checkpoint back that was active before, at once. Where it is not in memory, as after a
    restart, its bundle is loaded first; the active checkpoint answers meanwhile."""
    return runtime.rollback()


@router.get("/{checkpoint_id}", dependencies=[NEEDS_TAG], responses=documented(404, 422, 503))
def get_checkpoint(checkpoint_id: str, runtime: Checkpoints) -> CheckpointInfo:
    """One checkpoint as it stands."""
    return runtime.table.info(runtime.table.get(checkpoint_id))


@router.post(
    "/{checkpoint_id}/activate", dependencies=[NEEDS_ADMIN], responses=documented(404, 409, 422, 503)
)
@waits_for_database
def activate_checkpoint(
    checkpoint_id: str, runtime: Checkpoints, asked: Annotated[ActivateRequest | None, Body()] = None
) -> CheckpointInfo:
    """Makes a checkpoint that is ready the one that answers. Requests that have begun are finished by the one
    they began with, which then stays in memory for a rollback. Where the settings limit the drift and it is
    not kept, 409 with the report."""
    return runtime.activate(checkpoint_id, force=asked is not None and asked.force)


@router.post("/{checkpoint_id}/shadow", dependencies=[NEEDS_ADMIN], responses=documented(404, 409, 422, 503))
def shadow_checkpoint(
    checkpoint_id: str, runtime: Checkpoints, asked: Annotated[ShadowRequest | None, Body()] = None
) -> CheckpointInfo:
    """Lets a checkpoint that is ready tag a share of the photographs too, unseen by those who sent them, and
    counts how its answers differ. One at a time; under load it is passed over."""
    return runtime.shadow(checkpoint_id, None if asked is None else asked.share)


@router.get("/{checkpoint_id}/drift", dependencies=[NEEDS_TAG], responses=documented(404, 422, 503))
def get_drift(checkpoint_id: str, runtime: Checkpoints) -> DriftReport:
    """How the answers of a checkpoint differ from those of the active one, by what it has seen as its
    shadow."""
    return runtime.drift(checkpoint_id)


@router.post("/{checkpoint_id}/unload", dependencies=[NEEDS_ADMIN], responses=documented(404, 409, 422, 503))
def unload_checkpoint(checkpoint_id: str, runtime: Checkpoints) -> CheckpointInfo:
    """Lets a checkpoint go as soon as its requests are answered, or stops loading it."""
    return runtime.unload(checkpoint_id)


def _bundle(bundles: BundleStore, name: str) -> BundleInfo:
    try:
        return BundleInfo(bundle=name, checkpoint=bundles.find(name).checkpoint_id, problem=None)
    except TaggerError as error:
        return BundleInfo(bundle=name, checkpoint=None, problem=str(error))
