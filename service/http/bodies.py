"""Limits on request bodies: size of each, total size of all in memory, and time to arrive."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sigrl.service.errors import ContentTypeError, OverloadedError, RequestTooLargeError, SlowRequestError
from sigrl.service.observability.context import SERVED
from sigrl.service.settings import Settings
from sigrl.service.tagging.freed_memory import return_freed_memory

_MAX_OPTIONS_BYTES = 64 * 1024
_MUCH_HELD = 64 * 2**20
"""If the bodies together had more bytes than this, their memory is returned to the system afterwards."""
_UNTIL_FREED_SECONDS = 1.0
"""When a request ends, its last bytes are still referred to by what called the application."""


class BodyLimits:
    """Stops reading a body as soon as it exceeds a limit, or before the first byte if its declared length is
    too large. Errors are raised inside the route's own read of the body, so that they are handled like every
    other error."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app = app
        self._max_bytes = settings.max_request_bytes
        # A body of the largest allowed size must always fit.
        self._max_held = max(settings.body_bytes, settings.max_request_bytes)
        self._seconds = settings.receive_seconds
        self._held = self._most_held = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        declared = headers.get("content-length", "")
        is_too_large = declared.isdecimal() and int(declared) > self._max_bytes
        encoding = headers.get("content-encoding", "").strip().lower()
        received = 0
        deadline: float | None = None
        is_whole = False

        async def receive_within_limits() -> Message:
            nonlocal received, deadline, is_whole
            if is_whole:
                return await receive()
            if is_too_large or received > self._max_bytes:
                raise self._too_large()
            if encoding not in ("", "identity"):
                # A compressed body of any size could become gigabytes.
                raise ContentTypeError(
                    f"the body is encoded as {encoding[:40]}", "send it without Content-Encoding"
                )
            if deadline is None:
                deadline = asyncio.get_running_loop().time() + self._seconds
            try:
                async with asyncio.timeout_at(deadline):
                    message = await receive()
            except TimeoutError as error:
                raise self._too_slow() from error
            is_whole = not message.get("more_body", False)
            if is_whole and (served := SERVED.get()) is not None:
                served.arrived = time.monotonic()
            arrived = len(message.get("body", b""))
            received += arrived
            self._held += arrived
            self._most_held = max(self._most_held, self._held)
            if received > self._max_bytes:
                raise self._too_large()
            if self._held > self._max_held:
                raise self._too_many()
            return message

        try:
            await self.app(scope, receive_within_limits, send)
        finally:
            self._held -= received
            if self._held == 0 and self._most_held > _MUCH_HELD:
                self._most_held = 0
                loop = asyncio.get_running_loop()
                loop.call_later(_UNTIL_FREED_SECONDS, loop.run_in_executor, None, return_freed_memory)

    def _too_large(self) -> RequestTooLargeError:
        allowed = f"{self._max_bytes / 2**20:g} MiB"
        return RequestTooLargeError(f"the body is larger than {allowed}", "send fewer or smaller photographs")

    def _too_slow(self) -> SlowRequestError:
        return SlowRequestError(
            f"the body did not arrive within {self._seconds:g} seconds",
            "send smaller photographs, or set SIGRL_RECEIVE_SECONDS higher",
        )

    def _too_many(self) -> OverloadedError:
        return OverloadedError(
            f"the requests in progress hold more than {self._max_held / 2**20:g} MiB of bodies",
            "try again in a few seconds, or set SIGRL_BODY_BYTES higher",
            retry_after=2,
        )


class OptionsRoute(APIRoute):
    """A route whose body holds a few options. FastAPI parses such a body in the event loop, so it has to be
    short."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handle_short(request: Request) -> Response:
            if len(await request.body()) > _MAX_OPTIONS_BYTES:
                raise RequestTooLargeError(
                    f"the body is larger than {_MAX_OPTIONS_BYTES >> 10} KiB",
                    "send only what /docs describes",
                )
            return await handle(request)

        return handle_short
