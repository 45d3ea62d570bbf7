"""Bounds on how long the database may keep anybody waiting."""

import time
from collections.abc import Callable, Generator
from threading import Lock
from typing import Any

from sigrl.service.errors import StoreError

RETRY_SECONDS = 5.0
"""After a call that ran out of time, all others fail at once for this long; then one of them tries again."""

_SLOW_SECONDS = 1.0


def connect_postgresql(seconds: float) -> Callable[..., Any]:
    """A function with psycopg's own `connect` signature. Its connections give up a statement after `seconds`.

    PostgreSQL's `statement_timeout` does not help where the server itself hangs, or the network: this is the
    client's clock. A connection that gave up is closed, because its answer may still come. Raises ImportError
    where psycopg is not installed.
    """
    import psycopg

    class Connection(psycopg.Connection[Any]):
        def wait(self, gen: Generator[Any, Any, Any], *args: Any, **kwargs: Any) -> Any:
            try:
                return super().wait(_until(gen, time.monotonic() + seconds), *args, **kwargs)
            except TimeoutError as error:
                self.pgconn.finish()
                raise psycopg.OperationalError(f"no answer within {seconds:g} s") from error

    return Connection.connect


def _until(steps: Generator[Any, Any, Any], deadline: float) -> Generator[Any, Any, Any]:
    """The same steps of a psycopg wait, which come several times a second; TimeoutError at the deadline."""
    ready = None
    while True:
        try:
            wanted = steps.send(ready)
        except StopIteration as end:
            return end.value
        ready = yield wanted
        # What has arrived is still taken.
        if not ready and time.monotonic() >= deadline:
            raise TimeoutError


class Outage:
    """Remembers that the database lets its callers wait in vain, so that not each of them waits. Safe for
    threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = Lock()
        self._until: float | None = None

    def begin(self) -> float:
        """The time at which a call begins. Raises StoreError while the database is not to be asked."""
        now = self._clock()
        with self._lock:
            if self._until is not None:
                if now < self._until:
                    raise StoreError(
                        "the database does not answer", "try again in a few seconds; the log says more"
                    )
                # This call tries, and the others go on without.
                self._until = now + RETRY_SECONDS
        return now

    def failed(self, began: float) -> None:
        """A call failed. Quick failures cost nothing and change nothing."""
        if self._clock() - began >= _SLOW_SECONDS:
            with self._lock:
                self._until = self._clock() + RETRY_SECONDS

    def answered(self) -> None:
        """A call succeeded."""
        if self._until is not None:
            with self._lock:
                self._until = None
