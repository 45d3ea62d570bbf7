"""What a server is like for others while it is attacked: its probes, honest clients, and its memory."""

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np

from benchmarks.faults.server import Server
from benchmarks.faults.victim import Answer

MOST_BYTES = 4 << 30
"""The memory of the container in `deploy/kubernetes.yaml`."""
_PROBE_SECONDS, _HONEST_SECONDS, _MEMORY_SECONDS = 0.05, 1.0, 0.03


@dataclass
class Seen:
    """What a `Watch` saw."""

    probes: list[float] = field(default_factory=list)
    """Seconds of each answer to /healthz."""
    failed_probes: int = 0
    honest: list[Answer] = field(default_factory=list)
    peak_bytes: int = 0

    @property
    def probe_p99(self) -> float:
        """Milliseconds."""
        return 1000 * float(np.percentile(self.probes or [np.nan], 99))

    @property
    def honest_outcomes(self) -> Counter[str]:
        return Counter(each.outcome for each in self.honest)


class Watch:
    """Threads that look, from the beginning to the end of a `with` block."""

    def __init__(self, server: Server, photograph: bytes) -> None:
        """`photograph`: what honest clients send. The server is killed when it and its children exceed
        `MOST_BYTES`."""
        self._victim, self._pid, self._photograph = server.victim, server.pid, photograph
        self._probe = server.victim.url + server.probe
        # Kept, because a new client makes a TLS context, which takes longer than an answer.
        self._client = httpx.Client(timeout=30)
        self.seen, self._over = Seen(peak_bytes=memory(server.pid)), threading.Event()
        looks: tuple[tuple[Callable[[], None], float], ...] = (
            (self._ask_probe, _PROBE_SECONDS),
            (self._be_honest, _HONEST_SECONDS),
            (self._measure, _MEMORY_SECONDS),
        )
        self._threads = [threading.Thread(target=self._repeat, args=look) for look in looks]

    def __enter__(self) -> "Watch":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()
        self._client.close()

    def _repeat(self, look: Callable[[], None], pause: float) -> None:
        while not self._over.wait(pause):
            look()

    def _ask_probe(self) -> None:
        start = time.monotonic()
        try:
            is_well = self._client.get(self._probe).is_success
        except httpx.HTTPError:
            is_well = False
        self.seen.probes.append(time.monotonic() - start)
        self.seen.failed_probes += not is_well

    def _be_honest(self) -> None:
        self.seen.honest += self._victim.send([self._photograph])

    def _measure(self) -> None:
        used = memory(self._pid)
        self.seen.peak_bytes = max(self.seen.peak_bytes, used)
        if used > MOST_BYTES:
            for each in (self._pid, *_children(self._pid)):
                with suppress(ProcessLookupError):
                    os.kill(each, signal.SIGKILL)


def memory(pid: int) -> int:
    """Resident bytes of a process and its children; pages that they share count for each. Needs Linux."""
    pages = 0
    for each in (pid, *_children(pid)):
        try:
            pages += int(Path(f"/proc/{each}/statm").read_text().split()[1])
        except (OSError, IndexError):
            continue
    return pages * os.sysconf("SC_PAGESIZE")


def _children(pid: int) -> list[int]:
    found = []
    for tasks in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += [int(each) for each in tasks.read_text().split()]
        except OSError:
            continue
    return found + [each for child in found for each in _children(child)]
