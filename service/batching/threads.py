"""Threads for the slow parts of requests."""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor, Future
from contextvars import copy_context
from functools import partial, wraps
from threading import Lock, Thread
from typing import Any, ParamSpec, TypeVar

from sigrl.service.errors import NotReadyError

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


class RequestThreads(Executor):
    """Threads that know for which request they work, as asyncio's and anyio's own do. Closed, they finish
    what they have begun, and fail all else with NotReadyError: a future that is cancelled would end a request
    as if its client had left.

    A thread ends when there is nothing to do. PyTorch gives every thread that computes a team of helpers for
    as long as it lives, and with more of them than cores the model's own team sleeps where it would wait for
    a microsecond: a photograph then takes some hundredths longer, after a pause more.
    """

    def __init__(self, most: int, name: str = "sigrl") -> None:
        """At most so many at once."""
        self._most, self._name = most, name
        self._jobs: deque[tuple[Future[Any], Callable[[], Any]]] = deque()
        self._running = 0
        self._closed = False
        self._lock = Lock()

    def submit(
        self, fn: Callable[Arguments, Result], /, *args: Arguments.args, **kwargs: Arguments.kwargs
    ) -> Future[Result]:
        """See `Executor.submit`."""
        future: Future[Result] = Future()
        if self._closed:
            future.set_exception(NotReadyError.leaving())
            return future
        with self._lock:
            if self._running < self._most:
                # A daemon: work that hangs must not keep the process from ending.
                Thread(target=self._work, name=self._name, daemon=True).start()
                self._running += 1
            self._jobs.append((future, partial(copy_context().run, fn, *args, **kwargs)))
        return future

    def close(self) -> None:
        """Begins nothing more; waits for nobody."""
        self._closed = True

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._jobs:
                    self._running -= 1
                    return
                future, call = self._jobs.popleft()
            if self._closed:
                call = _refuse
            _settle(future, call)


# One more than the pool has connections: whoever finds none waits here.
_DATABASE = RequestThreads(16, "sigrl-database")


async def in_database_thread(
    call: Callable[Arguments, Result], *args: Arguments.args, **kwargs: Arguments.kwargs
) -> Result:
    """What `call` gives or raises, in one of the threads for calls that wait for the database. While the
    database hangs, only these threads hang with it."""
    return await asyncio.get_running_loop().run_in_executor(_DATABASE, partial(call, *args, **kwargs))


def waits_for_database(
    call: Callable[Arguments, Result],
) -> Callable[Arguments, Coroutine[None, None, Result]]:
    """The same function as a coroutine that runs in such a thread; a route's signature stays as it is."""

    @wraps(call)
    async def waiting(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        return await in_database_thread(call, *args, **kwargs)

    return waiting


def _settle(future: Future[Any], call: Callable[[], Any]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = call()
    except BaseException as error:
        future.set_exception(error)
        # The error holds this frame: by the future it would hold itself, and all that the call was given.
        del future, call
    else:
        future.set_result(result)


def _refuse() -> None:
    raise NotReadyError.leaving()
