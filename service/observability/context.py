"""What is known of the request that is being served, wherever its work runs."""

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
        """One photograph is done: where its time went, step after step until now, and how many went through
        the model with it."""


@dataclass(slots=True)
class Served:
    """What logs and traces tell of a request. Never labels, names of files or contents."""

    id: str
    trace: Trace | None = None
    """None where tracing is off."""
    photographs: int = 0
    """How many were to be tagged."""
    checkpoint: str | None = None
    """Id of the checkpoint that tags them."""
    problem: str | None = None
    """Code of the error that it was answered with."""

    def note(self, photographs: int, checkpoint: str) -> None:
        """So many photographs are for that checkpoint."""
        self.photographs += photographs
        self.checkpoint = checkpoint


SERVED: ContextVar[Served | None] = ContextVar("served", default=None)
"""The request that is being served; None outside of any."""
