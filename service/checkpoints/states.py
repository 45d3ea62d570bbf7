"""The runtime's record of a checkpoint."""

from dataclasses import dataclass, field
from datetime import UTC, datetime

from sigrl.service.checkpoints.drift import Drift
from sigrl.service.schemas.checkpoints import CheckpointInfo, State
from sigrl.service.tagging.tagger import Tagger


@dataclass(eq=False)
class Checkpoint:
    """The runtime's record of a checkpoint; changed only under the lock of `CheckpointTable`."""

    id: str
    bundle: str | None
    state: State = State.CANDIDATE
    reason: str | None = None
    tagger: Tagger | None = None
    """The engine and its encoded labels; None before loading and after removal."""
    handles: int = 0
    done: int = 0
    total: int = 0
    load_seconds: float | None = None
    has_answered: bool = False
    """Whether it has ever been active."""
    drift: Drift | None = None
    """Its comparison with the active checkpoint; None if it was never a shadow."""
    cancelled: bool = False
    """Whether loading it should stop."""
    since: datetime = field(default_factory=lambda: datetime.now(UTC))

    def info(self, *, previous: bool) -> CheckpointInfo:
        """The record as it is reported."""
        return CheckpointInfo(
            id=self.id,
            bundle=self.bundle,
            state=self.state,
            reason=self.reason,
            labels_done=self.done,
            labels_total=self.total,
            load_seconds=self.load_seconds,
            requests=self.handles,
            previous=previous,
            since=self.since,
        )
