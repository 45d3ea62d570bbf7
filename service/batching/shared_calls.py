"""Concurrent requests for the same key share one call."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from threading import Event
from typing import Generic, TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")


@dataclass(eq=False, slots=True)
class _Call(Generic[Value]):
    result: asyncio.Future[Value]
    abandoned: Event
    waiting: int = 0


class SharedCalls(Generic[Key, Value]):
    """Calls in an executor. All callers that ask for the same key before a call ends share it, so that it
    takes one thread however many wait. A caller that leaves does not end the call for the others. When all
    have left, a call that has not begun is not made, and one that has begun is notified by its event. Results
    are not kept. Belongs to one event loop."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self._calls: dict[Key, _Call[Value]] = {}

    def __contains__(self, key: Key) -> bool:
        """Whether a call for `key` is in progress."""
        return key in self._calls

    async def get(self, key: Key, call: Callable[[Event], Value]) -> Value:
        """Returns or raises what `call` does, or what the call in progress for `key` does. The event passed
        to `call` is set when nobody waits for the result any more."""
        shared = self._calls.get(key)
        if shared is None:
            abandoned = Event()
            result = asyncio.get_running_loop().run_in_executor(self._executor, call, abandoned)
            shared = self._calls[key] = _Call(result, abandoned)
        shared.waiting += 1
        try:
            return await asyncio.shield(shared.result)
        finally:
            shared.waiting -= 1
            if not shared.waiting:
                shared.abandoned.set()
                shared.result.cancel()
                del self._calls[key]
