"""Threads for the slow parts of requests."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from typing import ParamSpec, TypeVar

from service.errors import NotReadyError

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


class RequestThreads(ThreadPoolExecutor):
    """Threads that know for which request they work, as asyncio's and anyio's own do. Closed, they finish
    what they have begun, and fail all else with NotReadyError: a future that is cancelled would end a request
    as if its client had left."""

    _closed = False

    def submit(
        self, fn: Callable[Arguments, Result], /, *args: Arguments.args, **kwargs: Arguments.kwargs
    ) -> Future[Result]:
        """See `Executor.submit`."""

        def work() -> Result:
            if self._closed:
                raise NotReadyError.leaving()
            return fn(*args, **kwargs)

        if self._closed:
            refused: Future[Result] = Future()
            refused.set_exception(NotReadyError.leaving())
            return refused
        return super().submit(copy_context().run, work)

    def close(self) -> None:
        """Begins nothing more; waits for nobody."""
        self._closed = True
        self.shutdown(wait=False)
