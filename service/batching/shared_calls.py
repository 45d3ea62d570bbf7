"""One call for all who want the same."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Generic, TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")


@dataclass(eq=False, slots=True)
class _Call(Generic[Value]):
    result: asyncio.Future[Value]
    waiting: int = 0


class SharedCalls(Generic[Key, Value]):
    """Calls in an executor, shared by those who ask for the same key meanwhile: they cost one thread and not
    one each. Who leaves does not take the call from the others; when all have left before it began, it is not
    made. Nothing is remembered. Belongs to one event loop."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self._calls: dict[Key, _Call[Value]] = {}

    async def get(self, key: Key, call: Callable[[], Value]) -> Value:
        """What `call` gives or raises, or the one that is on its way under `key`."""
        shared = self._calls.get(key)
        if shared is None:
            result = asyncio.get_running_loop().run_in_executor(self._executor, call)
            shared = self._calls[key] = _Call(result)
        shared.waiting += 1
        try:
            return await asyncio.shield(shared.result)
        finally:
            shared.waiting -= 1
            if not shared.waiting:
                shared.result.cancel()
                del self._calls[key]
