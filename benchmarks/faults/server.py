"""A server in a process of its own, which is started again when an attack has ended it."""

import os
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

from benchmarks.faults.victim import Victim
from benchmarks.servers import ROOT

_START_SECONDS, _STOP_SECONDS = 300, 60


@dataclass
class Server:
    """Runs from the beginning to the end of a `with` block."""

    name: str
    command: Sequence[str]
    victim: Victim
    ready: str
    """A path that is answered when the server is ready."""
    probe: str
    """A path that costs nothing to answer."""
    scratch: Path
    """A folder for its data and its log."""
    deaths: int = field(default=0, init=False)
    """How often the process has ended by itself, or was killed for its memory."""

    def __enter__(self) -> Self:
        """Raises RuntimeError if there is no answer for too long."""
        self._start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()

    @property
    def pid(self) -> int:
        """Of the current process."""
        return self._process.pid

    def revive(self) -> bool:
        """Starts the server anew if it has ended; whether it had. Raises RuntimeError as at the start."""
        if self._process.poll() is None:
            return False
        self.deaths += 1
        self._start()
        return True

    def stop(self) -> str:
        """Ends it by SIGTERM, and says how that went."""
        start = time.monotonic()
        self._process.send_signal(signal.SIGTERM)
        try:
            status = self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            return f"still running after {_STOP_SECONDS} s"
        return f"status {status} after {time.monotonic() - start:.1f} s"

    def _start(self) -> None:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "SIGRL_DATA": str(self.scratch / "data")}
        with (self.scratch / f"{self.victim.port}.log").open("ab") as log:
            self._process = subprocess.Popen(self.command, env=environment, stdout=log, stderr=log)
        end = time.monotonic() + _START_SECONDS
        while time.monotonic() < end and self._process.poll() is None:
            try:
                if httpx.get(self.victim.url + self.ready, timeout=30).is_success:
                    return
            except httpx.HTTPError:
                time.sleep(0.5)
        raise RuntimeError(f"{self.name} does not answer:\n{Path(log.name).read_text()[-3000:]}")
