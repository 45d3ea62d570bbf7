"""The facts about the current request that logs, traces and deadlines use, in any thread or task."""

from contextvars import ContextVar
from dataclasses import dataclass
from typing import Protocol

PROBES = ("/healthz", "/readyz", "/metrics")
"""Paths that monitoring asks all the time: they are neither logged nor traced while all is well."""


class Trace(Protocol):
    """A request's trace; see `sigrl.service.observability.tracing`."""

    id: str
    """32 hexadecimal digits."""

    def steps(self, seconds: dict[str, float], photographs: int) -> None:
        """Records the steps of one finished photograph in order, the last of which ends now, and the size of
        its batch."""


@dataclass(slots=True)
class Served:
    """The facts about a request: never labels, file names or contents."""

    id: str
    trace: Trace | None = None
    """None if tracing is off."""
    photographs: int = 0
    """Number of photographs to tag."""
    checkpoint: str | None = None
    """Id of the checkpoint that tags them."""
    problem: str | None = None
    """Code of the error in the response."""
    arrived: float | None = None
    """When the last byte of the body arrived, by `time.monotonic`: the deadline counts from then."""

    def note(self, photographs: int, checkpoint: str) -> None:
        """Adds photographs that this checkpoint tags."""
        self.photographs += photographs
        self.checkpoint = checkpoint


SERVED: ContextVar[Served | None] = ContextVar("served", default=None)
"""The current request; None outside a request."""
