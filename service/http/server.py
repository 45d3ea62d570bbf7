"""The HTTP server as `sigrl serve` runs it: told to stop, it finishes what it has accepted."""

import asyncio
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

# After the last answers of a shutdown, for their way out; then connections are cut.
_FAREWELL_SECONDS = 3
# After the time for draining and the shutdown, for threads that do not end; less than the ten seconds that
# supervisors are told to wait.
_STUCK_SECONDS = 8


class Server(uvicorn.Server):
    """On SIGTERM or SIGINT: readiness says no; after `Settings.drain_seconds` the port closes; what was
    accepted is finished within `Settings.shutdown_seconds`, what was not is answered with 503; and the
    process ends with status 0, whatever is stuck in it. A second signal ends it at once."""

    def __init__(self, app: FastAPI, settings: Settings) -> None:
        """`app`: made by `create_app` with the same settings."""
        # uvicorn calls it as it calls its own protocol classes.
        connection = cast("type[asyncio.Protocol]", partial(Connection, settings=settings))
        super().__init__(
            uvicorn.Config(
                app,
                host=settings.host,
                port=settings.port,
                http=connection,
                ws="none",
                h11_max_incomplete_event_size=MAX_HEADER_BYTES,
                timeout_keep_alive=settings.idle_seconds,
                # Logs are configured already; a line for every request is RequestContext's.
                log_config=None,
                access_log=False,
                timeout_graceful_shutdown=settings.shutdown_seconds + _FAREWELL_SECONDS,
            )
        )
        self._settings = settings
        self._state: ServiceState = app.state.service
        self._leave_at: float | None = None

    def handle_exit(self, sig: int, _: FrameType | None) -> None:
        """The handler of both signals. Unlike uvicorn's it does not have the process killed by the signal in
        the end, which would look like a failure."""
        if not self.started:
            end_process(f"{signal.Signals(sig).name} during the start")
        if self._leave_at is not None:
            # Not by an exception: threads that decode would be waited for.
            signal.signal(sig, signal.SIG_DFL)
            signal.raise_signal(sig)
        self._state.leaving = True
        self._leave_at = time.monotonic() + self._settings.drain_seconds
        most = self._settings.drain_seconds + self._settings.shutdown_seconds + _STUCK_SECONDS
        end_after(most)

    async def on_tick(self, counter: int) -> bool:
        """Whether to stop now; asked ten times a second."""
        is_over = self._leave_at is not None and time.monotonic() >= self._leave_at
        return await super().on_tick(counter) or is_over

    async def shutdown(self, sockets: Sequence[socket] | None = None) -> None:
        """Waits for the connections, and ends what takes too long with an answer."""
        refusing = asyncio.create_task(self._refuse_in_the_end())
        await super().shutdown(list(sockets) if sockets is not None else None)
        refusing.cancel()

    async def _refuse_in_the_end(self) -> None:
        await asyncio.sleep(self._settings.shutdown_seconds)
        await self._state.refuse()
