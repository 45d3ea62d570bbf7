"""One call for everybody who asks for the same thing."""

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
    """Calls in an executor, each shared by everybody who asks for its key before it ends: it takes one
    thread, however many wait. One caller that leaves does not end the call for the others. When all have
    left, a call that has not begun is not made, and one that has begun is told by its event. Nothing is
    remembered. Belongs to one event loop."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self._calls: dict[Key, _Call[Value]] = {}

    def __contains__(self, key: Key) -> bool:
        """Whether a call is on its way under `key`."""
        return key in self._calls

    async def get(self, key: Key, call: Callable[[Event], Value]) -> Value:
        """What `call` gives or raises, or the call that is on its way under `key`. The event that `call` gets
        is set when nobody waits for it any more."""
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
