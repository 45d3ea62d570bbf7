"""The HTTP server of `sigrl serve`. On shutdown it finishes the requests it has accepted."""

import asyncio
import logging
import signal
import time
from collections.abc import Sequence
from functools import partial
from socket import socket
from types import FrameType
from typing import cast

import uvicorn
from fastapi import FastAPI

from sigrl.service.ending import end_after, end_process
from sigrl.service.http.connection import MAX_HEADER_BYTES, Connection
from sigrl.service.http.state import ServiceState
from sigrl.service.settings import Settings
from sigrl.service.tagging.freed_memory import end_the_start

# Time to send the last answers of a shutdown before connections are cut.
_FAREWELL_SECONDS = 3
# Extra time after draining and shutdown for threads that do not end. It is less than the ten seconds that
# supervisors are configured to wait.
_STUCK_SECONDS = 8
_logger = logging.getLogger("sigrl")


class Server(uvicorn.Server):
    """uvicorn's server with a graceful shutdown.

    On SIGTERM or SIGINT, readiness turns false, and the port closes after `Settings.drain_seconds`. Accepted
    requests have `Settings.shutdown_seconds` to finish, and the rest are answered with 503. The process then
    ends with status 0, even if threads are stuck. A second signal ends it at once.
    """

    def __init__(self, app: FastAPI, settings: Settings, began: float) -> None:
        """`app`: made by `create_app` with the same settings. `began`: when the start began, as
        `time.monotonic` told it."""
        # uvicorn calls this partial as it would call one of its own protocol classes.
        connection = cast("type[asyncio.Protocol]", partial(Connection, settings=settings))
        super().__init__(
            uvicorn.Config(
                app,
                host=settings.host,
                port=settings.port,
                http=connection,
                ws="none",
                # uvicorn would take uvloop where it is installed. With it, the event loop used 0.3 ms more
                # for a photograph sent alone, and the answer came a millisecond later.
                loop="asyncio",
                h11_max_incomplete_event_size=MAX_HEADER_BYTES,
                timeout_keep_alive=settings.idle_seconds,
                # Logging is already configured, and RequestContext logs each request.
                log_config=None,
                access_log=False,
                timeout_graceful_shutdown=settings.shutdown_seconds + _FAREWELL_SECONDS,
            )
        )
        self._settings = settings
        self._state: ServiceState = app.state.service
        self._began = began
        self._leave_at: float | None = None

    async def startup(self, sockets: list[socket] | None = None) -> None:
        """Starts the application, which waits for the model's first answer, and then listens."""
        _logger.info("loading the model and tagging a test picture")
        await super().startup(sockets)
        if self.started:
            _logger.info("ready after %.1f s", time.monotonic() - self._began)
            end_the_start()

    def handle_exit(self, sig: int, _: FrameType | None) -> None:
        """Handles both signals. uvicorn's handler would raise the signal again after the shutdown, and the
        process would appear to have failed."""
        if not self.started:
            end_process(f"{signal.Signals(sig).name} during the start")
        if self._leave_at is not None:
            # An exception would make the process wait for threads that are decoding.
            signal.signal(sig, signal.SIG_DFL)
            signal.raise_signal(sig)
        self._state.leaving = True
        self._leave_at = time.monotonic() + self._settings.drain_seconds
        most = self._settings.drain_seconds + self._settings.shutdown_seconds + _STUCK_SECONDS
        end_after(most)

    async def on_tick(self, counter: int) -> bool:
        """Whether to stop now. uvicorn calls this ten times a second."""
        is_over = self._leave_at is not None and time.monotonic() >= self._leave_at
        return await super().on_tick(counter) or is_over

    async def shutdown(self, sockets: Sequence[socket] | None = None) -> None:
        """Waits for the connections, and answers requests that take too long with an error."""
        refusing = asyncio.create_task(self._refuse_in_the_end())
        await super().shutdown(list(sockets) if sockets is not None else None)
        refusing.cancel()

    async def _refuse_in_the_end(self) -> None:
        await asyncio.sleep(self._settings.shutdown_seconds)
        await self._state.refuse()
