import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from sigrl.service.client import AsyncClient, Client

_ITERATORS = ("tag_many", "list_vocabularies")


@pytest.fixture(params=["Client", "AsyncClient"])
def call(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """`call(server, method, *arguments)` with either client; iterators become lists."""

    def synchronous(server: str, method: str, *arguments: Any, retries: int = 4, **options: Any) -> Any:
        with Client(server, retries=retries) as client:
            answer = getattr(client, method)(*arguments, **options)
            return list(answer) if method in _ITERATORS else answer

    async def asynchronous(
        server: str, method: str, *arguments: Any, retries: int = 4, **options: Any
    ) -> Any:
        async with AsyncClient(server, retries=retries) as client:
            answer = getattr(client, method)(*arguments, **options)
            return [each async for each in answer] if method in _ITERATORS else await answer

    if request.param == "Client":
        return synchronous
    return lambda *arguments, **options: asyncio.run(asynchronous(*arguments, **options))
