"""Answers about checkpoints: what one can be, and what is told of it."""

from datetime import datetime
from enum import StrEnum

from pydantic import Field

from sigrl.service.schemas.base import Schema


class State(StrEnum):
    """A checkpoint's way through the process."""

    CANDIDATE = "candidate"
    """Waits for its turn: one is loaded at a time, and only where there is room."""
    LOADING = "loading"
    """Its files are read and verified, and the model is built."""
    WARMING = "warming"
    """It tags a picture, and encodes the vocabularies that are in use."""
    READY = "ready"
    """It could answer at once."""
    SHADOW = "shadow"
    """It sees a share of the photographs that the active one answers, and is compared with it."""
    ACTIVE = "active"
    """It answers."""
    DRAINING = "draining"
    """It finishes the requests that began with it, and is let go then."""
    RETIRED = "retired"
    """It is no longer in memory."""
    FAILED = "failed"
    """It could not be loaded; the reason is told."""


ON_THE_WAY = frozenset({State.CANDIDATE, State.LOADING, State.WARMING})
USABLE = frozenset({State.READY, State.SHADOW})
"""May be activated."""
GONE = frozenset({State.RETIRED, State.FAILED})


class CheckpointInfo(Schema):
    """A checkpoint as it stands."""

    id: str
    """Names the bundle: the hash of its manifest."""
    bundle: str | None
    """Name of its folder among the bundles, or its path; null for the one that ships with the package."""
    state: State
    """`candidate`, `loading` and `warming` lead to `ready`; see also `failed`."""
    reason: str | None
    """Of a failed one, why."""
    labels_done: int
    """While it warms up: how many labels are encoded."""
    labels_total: int
    """Of so many, in all vocabularies in use."""
    load_seconds: float | None
    """From the first byte read to `ready`."""
    requests: int
    """Requests that began with it and are not answered yet."""
    previous: bool
    """Whether it answered before the active one, and a rollback brings it back."""
    since: datetime
    """When it came into its state."""


class BundleInfo(Schema):
    """A bundle that could be loaded."""

    bundle: str
    """Name of its folder."""
    checkpoint: str | None
    """Id of the checkpoint in it; null when its manifest cannot be read."""
    problem: str | None
    """Why not."""


class ReplicaInfo(Schema):
    """A process that shares the database."""

    id: str
    """Host, process, and what tells it from others."""
    generation: int
    """Of the activation by which it answers."""
    checkpoint: str
    """Id of the checkpoint that answers there."""
    problem: str | None
    """Why it does not answer by a newer activation; null when it does."""
    seen: datetime
    """When it last said so."""


class CheckpointList(Schema):
    """What answers, and what could."""

    generation: int
    """Number of the activation by which the active one answers; it grows with each, also over restarts. 0
    when it answers only because what was activated last cannot be loaded."""
    active: str
    """Id of the checkpoint that answers."""
    previous: str | None
    """Id of the one that a rollback brings back; null when none is in memory."""
    problem: str | None
    """Why the process did not begin with what was activated last; null when it did."""
    checkpoints: tuple[CheckpointInfo, ...]
    """Those in memory, on their way there, and the last that were."""
    bundles: tuple[BundleInfo, ...]
    """What lies in the folder of bundles."""
    replica: str
    """Which of the replicas answers this."""
    replicas: tuple[ReplicaInfo, ...]
    """All that share the database and have said something within fifteen seconds; empty while the database
    does not answer."""
    promoted: bool | None
    """Whether all of them answer by the newest activation; null while the database does not answer."""


class LoadRequest(Schema):
    """What to load."""

    bundle: str = Field(min_length=1, max_length=4096, examples=["2026-11"])
    """Name of a folder in the folder of bundles."""


class ActivateRequest(Schema):
    """How to activate."""

    force: bool = False
    """Also when the limits of drift are not kept."""


class ShadowRequest(Schema):
    """How much a shadow sees."""

    share: float | None = Field(default=None, ge=0, le=1)
    """Of the photographs; 0 ends it, null leaves it to SIGRL_SHADOW_SHARE."""
