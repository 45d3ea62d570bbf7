"""Rate limits: token buckets in this process."""

import time
from collections import OrderedDict
from threading import Lock

_MAX_BUCKETS = 10_000
_MINUTE = 60.0


class Rates:
    """A bucket for each key or address; it has room for a minute's requests and refills evenly. Memory is
    bounded, which libraries do not promise: the least recently used bucket is dropped. Thread-safe."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, who: str, per_minute: int) -> float:
        """Takes one request from the bucket and returns 0, or returns the seconds until one is available."""
        now = time.monotonic()
        with self._lock:
            left, since = self._buckets.pop(who, (float(per_minute), now))
            left = min(float(per_minute), left + (now - since) * per_minute / _MINUTE)
            wait = 0.0 if left >= 1 else (1 - left) * _MINUTE / per_minute
            self._buckets[who] = left - 1 if left >= 1 else left, now
            while len(self._buckets) > _MAX_BUCKETS:
                self._buckets.popitem(last=False)
        return wait
