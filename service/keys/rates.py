"""Rate limits: token buckets in this process."""

import time
from collections import OrderedDict
from collections.abc import Callable
from contextvars import ContextVar
from threading import Lock

_MAX_BUCKETS = 10_000
_MINUTE = 60.0

NEW_LABELS: ContextVar[Callable[[int], None] | None] = ContextVar("new_labels", default=None)
"""Charges a number of labels to the budget of the current request, or raises RateError. None if the request
has no budget."""


class Rates:
    """A bucket for each key or address, which has room for a minute's requests and refills evenly. The least
    recently used bucket is dropped, so memory is bounded, which libraries do not promise. Thread-safe."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, who: str, per_minute: int, count: int = 1) -> float:
        """Takes `count` from the bucket and returns 0 if at least one is left; otherwise returns the seconds
        until one is. The bucket may become negative, and then has to refill first."""
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
    """Charges labels that must be encoded to the budget of the current request. Raises RateError if the
    budget is used up."""
    charge = NEW_LABELS.get()
    if charge is not None:
        charge(count)
