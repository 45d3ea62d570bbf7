import asyncio
from typing import Any

import pytest
from fastapi.testclient import TestClient
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive, Scope, Send

from sigrl.service.http.middleware import CancelOnDisconnect

SCOPE: Scope = {"type": "http"}
BODY = [
    {"type": "http.request", "body": b"a", "more_body": True},
    {"type": "http.request", "body": b"b", "more_body": False},
]
START = {"type": "http.response.start", "status": 200, "headers": []}
END = {"type": "http.response.body", "body": b"", "more_body": False}


class Client:
    """Sends its body, and hangs up when told to, or like a server's channel when the answer is complete."""

    def __init__(self) -> None:
        self.body = list(BODY)
        self.gone = asyncio.Event()
        self.got: list[Any] = []

    async def receive(self) -> Message:
        if self.body:
            return self.body.pop(0)
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        self.got.append(message["type"])
        if message["type"] == "http.response.body" and not message.get("more_body"):
            self.gone.set()


async def _read(receive: Receive) -> bytes:
    body = b""
    while (message := await receive())["type"] == "http.request":
        body += message["body"]
        if not message["more_body"]:
            break
    return body


def test_request_of_a_disconnected_client_is_cancelled() -> None:
    async def test() -> None:
        client, cancelled = Client(), []

        async def app(_: Scope, receive: Receive, __: Send) -> None:
            assert await _read(receive) == b"ab"
            client.gone.set()
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                cancelled.append(1)
                raise

        with pytest.raises(ClientDisconnect):
            await CancelOnDisconnect(app)(SCOPE, client.receive, client.send)
        assert cancelled == [1]
        # Nothing of it is left for whatever runs next in this task.
        await asyncio.sleep(0)

    asyncio.run(test())


def test_work_after_the_response_is_not_cancelled() -> None:
    async def test() -> None:
        client, done = Client(), []

        async def app(_: Scope, receive: Receive, send: Send) -> None:
            await _read(receive)
            await send(START)
            await send(END)
            assert (await receive())["type"] == "http.disconnect"
            await asyncio.sleep(0.01)
            done.append(1)

        await CancelOnDisconnect(app)(SCOPE, client.receive, client.send)
        assert (client.got, done) == ([START["type"], END["type"]], [1])

    asyncio.run(test())


def test_response_before_the_body_is_read_is_sent() -> None:
    async def test() -> None:
        client = Client()

        async def app(_: Scope, __: Receive, send: Send) -> None:
            await send(START)
            await send(END)

        await CancelOnDisconnect(app)(SCOPE, client.receive, client.send)
        assert client.got == [START["type"], END["type"]]

    asyncio.run(test())


def test_errors_propagate_and_server_cancellation_cancels_requests() -> None:
    async def test() -> None:
        client, began, ended = Client(), asyncio.Event(), []

        async def failing(_: Scope, receive: Receive, __: Send) -> None:
            await _read(receive)
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await CancelOnDisconnect(failing)(SCOPE, client.receive, client.send)

        async def long(_: Scope, __: Receive, ___: Send) -> None:
            began.set()
            try:
                await asyncio.sleep(60)
            finally:
                ended.append(1)

        task = asyncio.ensure_future(CancelOnDisconnect(long)(SCOPE, client.receive, client.send))
        await began.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert ended == [1]

    asyncio.run(test())


@pytest.mark.parametrize("origin", ["https://elsewhere.example", "http://testserver:81", "null"])
def test_cross_origin_request_is_rejected(client: TestClient, origin: str) -> None:
    answer = client.put("/v1/vocabularies/pets", json={"labels": ["dog"]}, headers={"Origin": origin})
    assert answer.status_code == 403
    assert answer.json()["type"] == "urn:sigrl:problem:foreign-origin"
    assert client.get("/v1/vocabularies/pets", headers={"Origin": origin}).status_code == 404


def test_same_origin_and_non_browser_requests_are_accepted(client: TestClient) -> None:
    for name, headers in (("page", {"Origin": "http://testserver"}), ("program", {})):
        answer = client.put(f"/v1/vocabularies/{name}", json={"labels": ["dog"]}, headers=headers)
        assert answer.status_code == 201
