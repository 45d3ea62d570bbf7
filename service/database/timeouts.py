"""Limits how long callers wait for the database."""

import time
from collections.abc import Callable, Generator
from threading import Lock
from typing import Any

from sigrl.service.errors import StoreError

RETRY_SECONDS = 5.0
"""After a call that timed out, all others fail at once for this long; then one of them tries again."""

_SLOW_SECONDS = 1.0


def connect_postgresql(seconds: float) -> Callable[..., Any]:
    """A function with psycopg's `connect` signature. Its connections abandon a statement after `seconds`.

    PostgreSQL's `statement_timeout` does not help if the server or the network hangs, so the client measures
    the time. The connection is then closed, because the answer may still arrive. Raises ImportError if
    psycopg is not installed.
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
    """Passes on the steps of a psycopg wait, several per second. Raises TimeoutError at the deadline."""
    ready = None
    while True:
        try:
            wanted = steps.send(ready)
        except StopIteration as end:
            return end.value
        ready = yield wanted
        # Data that has already arrived is still accepted.
        if not ready and time.monotonic() >= deadline:
            raise TimeoutError


class Outage:
    """Remembers that the database does not answer, so that not every caller waits for it. Thread-safe."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = Lock()
        self._until: float | None = None

    def begin(self) -> float:
        """Returns the time at which a call begins. Raises StoreError if calls must fail at once."""
        now = self._clock()
        with self._lock:
            if self._until is not None:
                if now < self._until:
                    raise StoreError(
                        "the database does not answer", "try again in a few seconds; the log says more"
                    )
                # This call tries the database, and the others still fail at once.
                self._until = now + RETRY_SECONDS
        return now

    def failed(self, began: float) -> None:
        """Records a failed call. Quick failures are ignored, because nobody waits for them."""
        if self._clock() - began >= _SLOW_SECONDS:
            with self._lock:
                self._until = self._clock() + RETRY_SECONDS

    def answered(self) -> None:
        """Records a successful call."""
        if self._until is not None:
            with self._lock:
                self._until = None
