"""Rate limits: token buckets in this process."""

import time
from collections import OrderedDict
from collections.abc import Callable
from contextvars import ContextVar
from threading import Lock

_MAX_BUCKETS = 10_000
_MINUTE = 60.0

NEW_LABELS: ContextVar[Callable[[int], None] | None] = ContextVar("new_labels", default=None)
"""Takes so many labels out of the budget of the request that is being served, or raises RateError; None: it
has no budget."""


class Rates:
    """A bucket for each key or address; it has room for a minute's requests and refills evenly. Memory is
    bounded, which libraries do not promise: the least recently used bucket is dropped. Thread-safe."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, who: str, per_minute: int, count: int = 1) -> float:
        """Takes `count` from the bucket if at least one is left and returns 0, or returns the seconds until
        one is. What was taken beyond the rest is owed: it has to be made up for first."""
        now = time.monotonic()
        with self._lock:
            left, since = self._buckets.pop(who, (float(per_minute), now))
            left = min(float(per_minute), left + (now - since) * per_minute / _MINUTE)
            wait = 0.0 if left >= 1 else (1 - left) * _MINUTE / per_minute
            self._buckets[who] = left if wait else left - count, now
            while len(self._buckets) > _MAX_BUCKETS:
                self._buckets.popitem(last=False)
        return wait


def charge_new_labels(count: int) -> None:
    """Takes labels that must be encoded out of the budget of the request that is being served. Raises
    RateError where the budget is spent."""
    charge = NEW_LABELS.get()
    if charge is not None:
        charge(count)
