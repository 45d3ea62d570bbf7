"""Requests and responses about checkpoints."""

from datetime import datetime
from enum import StrEnum

from pydantic import Field

from sigrl.service.schemas.base import Schema


class State(StrEnum):
    """The states of a checkpoint in a server process."""

    CANDIDATE = "candidate"
    """It waits to be loaded: one checkpoint is loaded at a time, and only if there is room."""
    LOADING = "loading"
    """Its files are being read and verified, and the model is being built."""
    WARMING = "warming"
    """It tags a test image and encodes the vocabularies in use."""
    READY = "ready"
    """It can be activated at once."""
    SHADOW = "shadow"
    """It tags a share of the photographs that the active one tags, for comparison only."""
    ACTIVE = "active"
    """It answers all requests that do not name another checkpoint."""
    DRAINING = "draining"
    """It finishes the requests that it began and is then removed from memory."""
    RETIRED = "retired"
    """It has been removed from memory."""
    FAILED = "failed"
    """It could not be loaded; see `reason`."""


ON_THE_WAY = frozenset({State.CANDIDATE, State.LOADING, State.WARMING})
USABLE = frozenset({State.READY, State.SHADOW})
"""States from which a checkpoint can be activated."""
GONE = frozenset({State.RETIRED, State.FAILED})


class CheckpointInfo(Schema):
    """The current state of a checkpoint."""

    id: str
    """Id of the checkpoint: the hash of its bundle's manifest."""
    bundle: str | None
    """Name of its folder in the folder of bundles, or its path; null for the bundled checkpoint."""
    state: State
    """`candidate`, `loading` and `warming` lead to `ready` or `failed`."""
    reason: str | None
    """Why it failed; null in other states."""
    labels_done: int
    """Labels encoded so far while warming up."""
    labels_total: int
    """Labels to encode, in all vocabularies in use."""
    load_seconds: float | None
    """Seconds from the first byte read to `ready`; null until then."""
    requests: int
    """Requests in progress with this checkpoint."""
    previous: bool
    """Whether it was active before the current one, so that a rollback would reactivate it."""
    since: datetime
    """When it entered its state."""


class BundleInfo(Schema):
    """A bundle in the folder of bundles."""

    bundle: str
    """Name of its folder."""
    checkpoint: str | None
    """Id of its checkpoint; null if its manifest cannot be read."""
    calibrated: bool | None = None
    """Whether its labels get calibrated probabilities; null if its manifest cannot be read."""
    problem: str | None
    """Why the manifest cannot be read; null if it can."""


class ReplicaInfo(Schema):
    """A server process that shares the database."""

    id: str
    """Host, process and a unique suffix."""
    generation: int
    """Number of the activation that it has applied."""
    checkpoint: str
    """Id of its active checkpoint."""
    problem: str | None
    """Why it has not applied a newer activation; null if it has."""
    seen: datetime
    """When it last reported this."""


class CheckpointList(Schema):
    """The active checkpoint and those that could replace it."""

    generation: int
    """Number of the activation in effect; each activation increases it, across restarts too. 0 if the active
    checkpoint is only a substitute because the last activated one cannot be loaded."""
    active: str
    """Id of the active checkpoint."""
    previous: str | None
    """Id of the checkpoint that a rollback would reactivate; null if none is in memory."""
    problem: str | None
    """Why the process did not start with the last activated checkpoint; null if it did."""
    checkpoints: tuple[CheckpointInfo, ...]
    """Checkpoints in memory or being loaded, and the most recent ones that no longer are."""
    bundles: tuple[BundleInfo, ...]
    """The bundles in the folder of bundles."""
    replica: str
    """Id of the replica that sent this response."""
    replicas: tuple[ReplicaInfo, ...]
    """All replicas on this database that reported within the last fifteen seconds; empty while the database
    does not respond."""
    promoted: bool | None
    """Whether all of them have applied the newest activation; null while the database does not respond."""


class LoadRequest(Schema):
    """Which bundle to load."""

    bundle: str = Field(min_length=1, max_length=4096, examples=["2026-11"])
    """Name of a folder in the folder of bundles."""


class ActivateRequest(Schema):
    """Options of an activation."""

    force: bool = False
    """Whether to activate the checkpoint even if it exceeds the drift limits."""


class ShadowRequest(Schema):
    """Options of a shadow."""

    share: float | None = Field(default=None, ge=0, le=1)
    """Share of the photographs that the shadow tags; 0 ends it, null means SIGRL_SHADOW_SHARE."""
