"""A client's connection, with limits on what it can cost before a request is parsed."""

import asyncio
import http
import sys
import time
from typing import Any, Literal, TypeAlias

import h11
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from sigrl.service.errors import (
    HeadersTooLargeError,
    MalformedRequestError,
    OverloadedError,
    SlowRequestError,
    TaggerError,
)
from sigrl.service.http import problems
from sigrl.service.observability import metrics
from sigrl.service.settings import Settings

MAX_HEADER_BYTES = 64 * 1024
"""Limit for a request line with its headers, for the trailers of a chunked body, and for one chunk's
extensions."""

Awaited: TypeAlias = Literal["headers", "body"]

# Each chunk of a body costs some microseconds, however short it is.
_FREE_CHUNKS = 1000
_MIN_CHUNK_BYTES = 128
# The application refuses a late body. Its answer needs a moment before the connection is cut.
_BODY_GRACE_SECONDS = 5.0
# The connection stays open for a client that is still sending. If it were closed at once, the client's kernel
# would discard the refusal.
_LINGER_SECONDS = 2.0


class _Parser(h11.Connection):
    """h11's parser, which also refuses a body that is sent in many chunks of a few bytes."""

    def __init__(self) -> None:
        super().__init__(h11.SERVER, MAX_HEADER_BYTES)
        self._chunks, self._chunk_bytes = 0, 0

    def next_event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        event = super().next_event()
        if isinstance(event, h11.Request):
            self._chunks, self._chunk_bytes = 0, 0
        elif isinstance(event, h11.Data):
            self._chunks += event.chunk_end
            self._chunk_bytes += len(event.data)
            if self._chunks > _FREE_CHUNKS and self._chunk_bytes < _MIN_CHUNK_BYTES * self._chunks:
                raise h11.RemoteProtocolError(
                    f"the chunks of the body have less than {_MIN_CHUNK_BYTES} bytes on average"
                )
        return event


class Connection(H11Protocol):
    """uvicorn's connection with additional limits:

    - Headers must arrive within `Settings.receive_seconds`, and a body within the same time plus a grace
      period.
    - A client that sends nothing or does not read its answer is cut off after `Settings.idle_seconds`.
    - At most `Settings.connections` are open. A new connection replaces one that is waiting for its client.
    - Refusals are RFC 9457 problems, as everywhere else, and are counted.

    It is based on h11, because httptools does not limit the size of headers.
    """

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        settings: Settings,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.conn = _Parser()
        self._settings = settings
        self._awaited: Awaited | None = None
        self._awaited_since = 0.0
        self._late_timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None
        self._is_refused = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        is_full = len(self.connections) >= self._settings.connections
        super().connection_made(transport)
        self._awaited_since = time.monotonic()
        self.timeout_keep_alive_task = self.loop.call_later(
            self.timeout_keep_alive, self.timeout_keep_alive_handler
        )
        if is_full and not self._take_place_of_another():
            self._refuse(
                OverloadedError(
                    f"{self._settings.connections} connections are open, and all of them are busy",
                    "try again in a few seconds, or set SIGRL_CONNECTIONS higher",
                    retry_after=1,
                )
            )

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._unset_keepalive_if_required()
        self._await(None)
        self.resume_writing()

    def data_received(self, data: bytes) -> None:
        if self._is_refused:
            return
        super().data_received(data)
        self._note_what_is_awaited()

    def on_response_complete(self) -> None:
        self._await(None)
        super().on_response_complete()
        self._note_what_is_awaited()

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._write_timer is None:
            self._write_timer = self.loop.call_later(self.timeout_keep_alive, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None

    def timeout_keep_alive_handler(self) -> None:
        super().timeout_keep_alive_handler()
        # close() alone would wait forever for a client that does not read the end of its answer.
        self.transport.abort()

    def send_400_response(self, msg: str) -> None:
        """Refuses the request. uvicorn calls this when h11 cannot parse it."""
        error = sys.exception()
        if getattr(error, "error_status_hint", 400) == 431:
            self._refuse(
                HeadersTooLargeError(
                    f"the headers are larger than {MAX_HEADER_BYTES >> 10} KiB",
                    "send long lists of labels in the body",
                )
            )
        else:
            self._refuse(MalformedRequestError(msg, "send HTTP/1.1"))

    def _note_what_is_awaited(self) -> None:
        """Records which part of a started request the client still has to send: headers, body or nothing."""
        state = self.conn.their_state
        if self._is_refused or self.transport.is_closing():
            self._await(None)
        elif state is h11.SEND_BODY:
            self._await("body")
        elif state is h11.IDLE and self.conn.trailing_data[0]:
            self._await("headers")
        else:
            self._await(None)

    def _await(self, awaited: Awaited | None) -> None:
        if awaited == self._awaited:
            return
        self._awaited, self._awaited_since = awaited, time.monotonic()
        if self._late_timer is not None:
            self._late_timer.cancel()
            self._late_timer = None
        if awaited is not None:
            grace = _BODY_GRACE_SECONDS if awaited == "body" else 0.0
            self._late_timer = self.loop.call_later(self._settings.receive_seconds + grace, self._end_late)

    def _end_late(self) -> None:
        awaited = self._awaited
        self._await(None)
        if awaited == "body":
            self.transport.abort()
        elif self.cycle is not None and not self.cycle.response_complete:
            # The client has begun its next request while it waits for the answer to this one: it is not late.
            self._note_what_is_awaited()
        else:
            self._refuse(
                SlowRequestError(
                    f"the headers did not arrive within {self._settings.receive_seconds:g} seconds",
                    "send the request again",
                )
            )

    def _take_place_of_another(self) -> bool:
        """Cuts off the connection that has waited longest for its client, and prefers connections without a
        request. Returns False if every connection has a request that is being answered."""
        waiting = [
            each
            for each in self.connections
            if isinstance(each, Connection) and each is not self and each.waits_for_client
        ]
        if not waiting:
            return False
        chosen = min(waiting, key=lambda each: (each._awaited == "body", each._awaited_since))
        chosen.transport.abort()
        return True

    @property
    def waits_for_client(self) -> bool:
        """Whether the server cannot proceed until the client sends more."""
        is_served = self.cycle is not None and not self.cycle.response_complete
        return not self.transport.is_closing() and (not is_served or self._awaited == "body")

    def _refuse(self, error: TaggerError) -> None:
        """Answers with the error and closes. Whatever the client sends in the next moments is discarded."""
        self._is_refused = True
        self._await(None)
        metrics.REQUESTS_REFUSED.labels(error.code).inc()
        if self.cycle is not None and not self.cycle.response_complete:
            # Notifies the application that the client no longer waits for its answer.
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            # An answer has already begun, so no other can be sent.
            self.transport.abort()
            return
        body = error.problem().model_dump_json().encode()
        headers = [
            ("content-type", problems.MEDIA_TYPE),
            ("content-length", str(len(body))),
            ("connection", "close"),
            *([] if error.retry_after is None else [("retry-after", str(error.retry_after))]),
        ]
        reason = http.HTTPStatus(error.status).phrase.encode()
        for event in (
            h11.Response(status_code=error.status, headers=headers, reason=reason),
            h11.Data(data=body),
            h11.EndOfMessage(),
        ):
            self.transport.write(self.conn.send(event) or b"")
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.loop.call_later(_LINGER_SECONDS, self.transport.abort)
