"""A checkpoint as the runtime keeps it."""

from dataclasses import dataclass, field
from datetime import UTC, datetime

from sigrl.service.checkpoints.drift import Drift
from sigrl.service.schemas.checkpoints import CheckpointInfo, State
from sigrl.service.tagging.tagger import Tagger


@dataclass(eq=False)
class Checkpoint:
    """A checkpoint as the runtime keeps it; changed only under the runtime's lock."""

    id: str
    bundle: str | None
    state: State = State.CANDIDATE
    reason: str | None = None
    tagger: Tagger | None = None
    """The engine and all that was made by it; None before it is loaded and once it is let go."""
    handles: int = 0
    done: int = 0
    total: int = 0
    load_seconds: float | None = None
    has_answered: bool = False
    """Whether it was ever active."""
    drift: Drift | None = None
    """What it was like beside the active one; None if it never was a shadow."""
    cancelled: bool = False
    """Nobody wants it any more, and whoever loads it shall stop."""
    since: datetime = field(default_factory=lambda: datetime.now(UTC))

    def info(self, *, previous: bool) -> CheckpointInfo:
        """What is told of it."""
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
