"""Runs the slow parts of requests in threads."""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor, Future
from contextvars import copy_context
from functools import partial, wraps
from threading import Condition, Thread
from typing import Any, ParamSpec, TypeVar

from sigrl.service.errors import NotReadyError

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


class RequestThreads(Executor):
    """Threads that run each job in the context of its request, as those of asyncio and anyio do. After
    `close`, jobs that have begun are finished, and all others fail with NotReadyError. They are not
    cancelled, because a cancelled future would end a request as if its client had left.

    By default a thread ends when there is nothing to do. PyTorch gives every thread that computes a team of
    helper threads for as long as that thread lives. With more helpers than cores, the model's own team goes
    to sleep where it would otherwise wait for a microsecond: a photograph then takes a few per cent longer,
    and more than that after a pause. Threads that do not compute with PyTorch may linger, because the event
    loop waits for the start of every new thread.
    """

    def __init__(self, most: int, name: str = "sigrl", linger_seconds: float = 0.0) -> None:
        """`most`: the largest number of threads at once. `linger_seconds`: how long a thread waits for
        another job before it ends."""
        self._most, self._name, self._linger_seconds = most, name, linger_seconds
        self._jobs: deque[tuple[Future[Any], Callable[[], Any]]] = deque()
        self._running = self._waiting = 0
        self._closed = False
        self._changed = Condition()

    def submit(
        self, fn: Callable[Arguments, Result], /, *args: Arguments.args, **kwargs: Arguments.kwargs
    ) -> Future[Result]:
        """See `Executor.submit`."""
        future: Future[Result] = Future()
        if self._closed:
            future.set_exception(NotReadyError.leaving())
            return future
        with self._changed:
            self._jobs.append((future, partial(copy_context().run, fn, *args, **kwargs)))
            if self._waiting >= len(self._jobs):
                self._changed.notify()
            elif self._running < self._most:
                # A daemon thread, because a job that hangs must not keep the process from ending.
                Thread(target=self._work, name=self._name, daemon=True).start()
                self._running += 1
        return future

    def close(self) -> None:
        """Starts no more jobs. Does not wait for those in progress."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _work(self) -> None:
        while True:
            with self._changed:
                if not self._jobs and self._linger_seconds:
                    self._waiting += 1
                    self._changed.wait_for(lambda: self._jobs or self._closed, self._linger_seconds)
                    self._waiting -= 1
                if not self._jobs:
                    self._running -= 1
                    return
                future, call = self._jobs.popleft()
            if self._closed:
                call = _refuse
            _settle(future, call)
            # While the thread lingers, it must not keep a photograph and its result.
            del future, call


# One more than the connection pool has connections: a call that finds none free waits in its thread.
_DATABASE = RequestThreads(16, "sigrl-database", linger_seconds=10)


async def in_database_thread(
    call: Callable[Arguments, Result], *args: Arguments.args, **kwargs: Arguments.kwargs
) -> Result:
    """Runs `call` in one of the threads for calls that wait for the database, and returns or raises what it
    does. If the database hangs, only these threads hang with it."""
    return await asyncio.get_running_loop().run_in_executor(_DATABASE, partial(call, *args, **kwargs))


def waits_for_database(
    call: Callable[Arguments, Result],
) -> Callable[Arguments, Coroutine[None, None, Result]]:
    """Decorates a function so that it becomes a coroutine that runs in such a thread. The signature of a
    route stays the same."""

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
        # The error refers to this frame. Without the `del`, it would refer through the future to the error
        # itself, and to all arguments of the call.
        del future, call
    else:
        future.set_result(result)


def _refuse() -> None:
    raise NotReadyError.leaving()
