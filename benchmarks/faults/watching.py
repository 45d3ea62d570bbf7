"""What a server is like for others while it is attacked: its probes, honest clients, and its memory."""

import os
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np

from benchmarks.faults.victim import Answer, Victim

_PROBE_SECONDS, _HONEST_SECONDS, _MEMORY_SECONDS = 0.05, 1.0, 0.03


@dataclass
class Seen:
    """All that was seen since the last `Watch.take`."""

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

    def __init__(self, victim: Victim, pid: int, probe: str, photograph: bytes) -> None:
        """`probe`: a path that costs nothing to answer. `photograph`: what honest clients send."""
        self._victim, self._pid, self._photograph = victim, pid, photograph
        self._probe = victim.url + probe
        # Kept, because a new client makes a TLS context, which takes longer than an answer.
        self._client = httpx.Client(timeout=30)
        self._seen, self._over = Seen(), threading.Event()
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

    def take(self) -> Seen:
        """What was seen; what follows is counted anew."""
        seen, self._seen = self._seen, Seen(peak_bytes=memory(self._pid))
        return seen

    def _repeat(self, look: Callable[[], None], pause: float) -> None:
        while not self._over.wait(pause):
            look()

    def _ask_probe(self) -> None:
        start = time.monotonic()
        try:
            is_well = self._client.get(self._probe).is_success
        except httpx.HTTPError:
            is_well = False
        seen = self._seen
        seen.probes.append(time.monotonic() - start)
        seen.failed_probes += not is_well

    def _be_honest(self) -> None:
        self._seen.honest += self._victim.send([self._photograph])

    def _measure(self) -> None:
        self._seen.peak_bytes = max(self._seen.peak_bytes, memory(self._pid))


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
