"""Pure ASGI middleware, because BaseHTTPMiddleware would hide client disconnects from the routes."""

import asyncio
import logging
import re
import time
import uuid
from collections.abc import Sequence
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sigrl.service.errors import ForeignOriginError, NotReadyError
from sigrl.service.http.problems import refusal, unforeseen
from sigrl.service.observability import metrics
from sigrl.service.observability.context import PROBES, SERVED, Served

REQUEST_ID_HEADER = "X-Request-ID"

_logger = logging.getLogger("sigrl.access")
_READING = ("GET", "HEAD", "OPTIONS")
_USABLE_ID = re.compile(r"[\w.:-]{1,64}")


class RequestContext:
    """Gives every request an id, counts it, logs it, and catches every unexpected exception."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = Headers(scope=scope).get(REQUEST_ID_HEADER, "")
        # The client's id is used only if it is safe to write into logs.
        request_id = given if _USABLE_ID.fullmatch(given) else uuid.uuid4().hex
        state = scope.setdefault("state", {})
        state["request_id"] = request_id
        served = Served(request_id, state.get("trace"))
        token = SERVED.set(served)
        status = 0
        started = time.perf_counter()

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers[REQUEST_ID_HEADER] = request_id
                headers["X-Content-Type-Options"] = "nosniff"
                headers["Referrer-Policy"] = "no-referrer"
            await send(message)

        try:
            await self.app(scope, receive, send_with_id)
        except ClientDisconnect:
            # The client has gone. Proxies log this as 499.
            status = status or 499
        except asyncio.CancelledError:
            # The server cancels requests that outlast the time for a shutdown.
            if status:
                raise
            await refusal(NotReadyError.leaving())(scope, receive, send_with_id)
        except Exception as error:
            told = unforeseen(error, request_id)
            if status:
                raise
            await refusal(told)(scope, receive, send_with_id)
        finally:
            # The metric uses the route template: with raw paths, clients could create unlimited time series.
            route = getattr(scope.get("route"), "path", "unmatched")
            seconds = time.perf_counter() - started
            metrics.REQUESTS.labels(route, str(status)).inc()
            metrics.REQUEST_SECONDS.labels(route).observe(seconds)
            _log(scope, route, status, seconds, served)
            SERVED.reset(token)


def _log(scope: Scope, route: str, status: int, seconds: float, served: Served) -> None:
    level = logging.WARNING if status >= 500 else logging.INFO
    if route in PROBES and status < 400:
        level = logging.DEBUG
    fields = {
        "method": scope["method"],
        "route": route,
        "status": status,
        "seconds": round(seconds, 6),
        "photographs": served.photographs or None,
        "checkpoint": served.checkpoint,
        "problem": served.problem,
        "key_id": scope["state"].get("key_id"),
    }
    _logger.log(
        level,
        "%s %s %d in %.3f s",
        scope["method"],
        route,
        status,
        seconds,
        extra={name: value for name, value in fields.items() if value is not None},
    )


class SameOrigin:
    """Refuses requests that a page of another site sends through a visitor's browser.

    A browser on this machine can reach a loopback address, and lets any page post a form or plain text to it
    without a preflight request. It does send the page's origin in the header Origin. Programs send no such
    header and are let through.
    """

    def __init__(self, app: ASGIApp, allowed: Sequence[str]) -> None:
        """`allowed`: origins of other sites whose requests are accepted."""
        self.app = app
        self._allowed = frozenset(allowed)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] not in _READING:
            headers = Headers(scope=scope)
            origin = headers.get("origin")
            is_allowed = origin is None or origin in self._allowed or _is_own(origin, headers.get("host"))
            if origin is not None and not is_allowed:
                error = ForeignOriginError(
                    f"the request comes from a page of {origin[:100]}",
                    "use a program or this service's page, or allow the site with SIGRL_CORS_ORIGINS; a "
                    "proxy must keep the header Host",
                )
                await refusal(error)(scope, receive, send)
                return
        await self.app(scope, receive, send)


def _is_own(origin: str, host: str | None) -> bool:
    """Whether a page's origin is the host that the request is sent to."""
    try:
        return host is not None and urlsplit(origin).netloc == host
    except ValueError:
        return False


class CancelOnDisconnect:
    """Cancels the work for a client that has disconnected, which neither FastAPI nor the server does."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        body_read, gone = asyncio.Event(), asyncio.Event()
        answered = False

        async def receive_body() -> Message:
            if body_read.is_set():
                # `watch` reads the channel from here on. Further callers wait for the disconnect.
                await gone.wait()
                return {"type": "http.disconnect"}
            message = await receive()
            if not message.get("more_body", False):
                body_read.set()
            return message

        async def send_and_note(message: Message) -> None:
            nonlocal answered
            # Noted before the last message is sent, because the server reports a disconnect after it anyway.
            answered = answered or (
                message["type"] == "http.response.body" and not message.get("more_body", False)
            )
            await send(message)

        async def watch() -> None:
            await body_read.wait()
            while (await receive())["type"] != "http.disconnect":
                pass
            gone.set()

        # The work runs in its own task, so that a cancellation that comes too late affects only that task.
        work = asyncio.ensure_future(self.app(scope, receive_body, send_and_note))
        watcher = asyncio.create_task(watch())
        try:
            await asyncio.wait({work, watcher}, return_when=asyncio.FIRST_COMPLETED)
            if gone.is_set() and not answered:
                work.cancel()
                await asyncio.wait({work})
                if work.cancelled():
                    raise ClientDisconnect
            await work
        finally:
            watcher.cancel()
            work.cancel()
            await asyncio.wait({work})
