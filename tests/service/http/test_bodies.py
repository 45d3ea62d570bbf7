"""Limits on request bodies, with a client and an application that do exactly what the test says."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from starlette.types import Message, Receive, Scope, Send

from sigrl.service.errors import OverloadedError, RequestTooLargeError, SlowRequestError
from sigrl.service.http.bodies import BodyLimits
from sigrl.service.observability.context import SERVED, Served
from sigrl.service.settings import Settings

KIB = 1024


class Request:
    """A request whose body arrives in the pieces that the test sends, and which the application keeps until
    the test lets it answer."""

    def __init__(self, limits: BodyLimits, declared: int | None = None) -> None:
        self.read = b""
        self.answer = asyncio.Event()
        self._pieces: asyncio.Queue[Message] = asyncio.Queue()
        headers = [] if declared is None else [(b"content-length", str(declared).encode())]
        scope: Scope = {"type": "http", "headers": headers}
        scope["request"] = self
        self.task = asyncio.create_task(_served(limits, scope, self._pieces.get))

    async def send(self, size: int, more: bool = True) -> None:
        """Returns when the application has read the piece, or has ended."""
        self._pieces.put_nowait({"type": "http.request", "body": bytes(size), "more_body": more})
        before = len(self.read)
        while len(self.read) == before and not self.task.done():
            await asyncio.sleep(0)


async def _application(scope: Scope, receive: Receive, _: Send) -> None:
    more = True
    while more:
        message = await receive()
        scope["request"].read += message["body"]
        more = message["more_body"]
    await scope["request"].answer.wait()


async def _served(limits: BodyLimits, scope: Scope, receive: Callable[[], Awaitable[Message]]) -> None:
    async def send(_: Message) -> None: ...

    await limits(scope, receive, send)


def _limits(seconds: float = 60.0) -> BodyLimits:
    settings = Settings(max_request_bytes=4 * KIB, body_bytes=8 * KIB, receive_seconds=seconds)
    return BodyLimits(_application, settings)


def test_total_size_of_request_bodies_is_limited() -> None:
    async def test() -> None:
        limits = _limits()
        held = [Request(limits) for _ in range(3)]
        for each in held[:2]:
            await each.send(3 * KIB)
        assert not any(each.task.done() for each in held[:2])
        await held[2].send(3 * KIB)
        with pytest.raises(OverloadedError, match="hold more than"):
            await held[2].task
        # What the refused one sent is not counted any more; what the others hold still is.
        small = Request(limits)
        await small.send(2 * KIB, more=False)
        assert len(small.read) == 2 * KIB
        late = Request(limits)
        await late.send(1)
        with pytest.raises(OverloadedError):
            await late.task
        # A body counts until its request is answered, not until it has been read.
        small.answer.set()
        await small.task
        again = Request(limits)
        await again.send(2 * KIB, more=False)
        assert len(again.read) == 2 * KIB
        for each in (*held[:2], again):
            each.task.cancel()

    asyncio.run(test())


def test_body_of_a_disconnected_client_is_not_counted() -> None:
    async def test() -> None:
        limits = _limits()
        for _ in range(4):
            gone = Request(limits)
            await gone.send(4 * KIB)
            gone.task.cancel()
            await asyncio.wait([gone.task])
        whole = Request(limits)
        await whole.send(4 * KIB, more=False)
        whole.answer.set()
        await whole.task

    asyncio.run(test())


def test_single_body_is_limited_with_or_without_content_length() -> None:
    async def test() -> None:
        declared, silent = Request(_limits(), declared=4 * KIB + 1), Request(_limits())
        with pytest.raises(RequestTooLargeError):
            await declared.task
        await silent.send(4 * KIB)
        assert not silent.task.done()
        await silent.send(1)
        with pytest.raises(RequestTooLargeError):
            await silent.task

    asyncio.run(test())


def test_slow_body_times_out_even_if_chunks_keep_arriving() -> None:
    async def test() -> None:
        slow, whole = Request(_limits(0.2)), Request(_limits(0.2))
        await whole.send(1, more=False)
        while not slow.task.done():
            await slow.send(1)
            await asyncio.sleep(0.01)
        with pytest.raises(SlowRequestError):
            await slow.task
        # The time of a body that has arrived is over.
        await asyncio.sleep(0.3)
        assert not whole.task.done()
        whole.answer.set()
        await whole.task

    asyncio.run(test())


def test_arrival_time_is_set_by_the_last_body_chunk() -> None:
    async def test() -> None:
        served = Served("request")
        SERVED.set(served)
        request = Request(_limits())
        await request.send(KIB)
        assert served.arrived is None
        await request.send(KIB, more=False)
        assert served.arrived is not None
        request.answer.set()
        await request.task

    asyncio.run(test())
