"""`python -m benchmarks.faults [--minutes 10] [--peers]`: attacks on a server that it starts.

The server has its default settings and the bundled checkpoint, in a process of its own. The attacks follow
one another, in rounds, until the minutes are over, and every one is made at least once. Meanwhile one
client sends a good photograph a second, and another asks /healthz. As the server's own failures count all
5xx that honest clients get, what is cut off or unanswered where the client is honest, probes that fail, and
all 5xx that attackers get but 504, which a request may deserve. With `--peers`, a plain FastAPI endpoint
with open_clip gets the same attacks, except those on our own routes, in a process of at most 4 GiB.
"""

import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import httpx
import typer

from benchmarks.faults.attacks import Attack, attacks
from benchmarks.faults.victim import Answer, Victim
from benchmarks.faults.watching import Seen, Watch, memory
from benchmarks.measuring import markdown_table
from benchmarks.servers import ROOT, SERVE, free_port

_GIB = 1 << 30
_PEER_BYTES = 4 * _GIB
_START_SECONDS = 300
_QUIET_SECONDS = 30.0
_COLUMNS = (
    "attack",
    "times",
    "outcomes",
    "honest clients got",
    "our 5xx",
    "longest answer, s",
    "worst /healthz p99, ms",
    "peak RSS, MiB",
    "RSS after it, MiB",
)


@dataclass
class Row:
    """One attack, over all rounds."""

    times: int = 0
    answers: list[Answer] = field(default_factory=list)
    honest: Counter[str] = field(default_factory=Counter)
    longest: float = 0.0
    probe_p99: float = 0.0
    failed_probes: int = 0
    peak_bytes: int = 0
    bytes_after: int = 0

    def add(self, answers: Sequence[Answer], seen: Seen, bytes_after: int) -> None:
        """One more time."""
        self.times += 1
        self.answers += answers
        self.honest += seen.honest_outcomes
        self.longest = max([self.longest, *(each.seconds for each in (*answers, *seen.honest))])
        self.probe_p99 = max(self.probe_p99, seen.probe_p99)
        self.failed_probes += seen.failed_probes
        self.peak_bytes = max(self.peak_bytes, seen.peak_bytes)
        self.bytes_after = bytes_after

    @property
    def failures(self) -> int:
        """Of the server, not of those who ask."""
        outcomes = Counter(each.outcome.split()[-1] for each in self.answers)
        of_attackers = sum(count for name, count in outcomes.items() if name[0] == "5" and name != "504")
        return (
            of_attackers
            + self.failed_probes
            + sum(self.honest[name] for name in self.honest if _is_failure(name))
        )

    def cells(self, name: str) -> list[str]:
        """As in the table."""
        return [
            name,
            str(self.times),
            _counted(Counter(each.outcome for each in self.answers)),
            _counted(self.honest),
            str(self.failures),
            f"{self.longest:.1f}",
            f"{self.probe_p99:.0f}",
            f"{self.peak_bytes >> 20:,}",
            f"{self.bytes_after >> 20:,}",
        ]


def main(
    minutes: Annotated[float, typer.Option(help="How long each server is attacked, at least")] = 10.0,
    peers: Annotated[bool, typer.Option("--peers", help="Also a plain FastAPI endpoint")] = False,
) -> None:
    """Attack a server, and print what became of it."""
    photograph = (ROOT / "examples" / "cat.jpg").read_bytes()
    every = attacks(photograph)
    with tempfile.TemporaryDirectory() as scratch:
        port = free_port()
        command = [*SERVE, str(port)]
        victim = Victim("127.0.0.1", port, "/v1/tag?labels=cat,dog", together=True)
        with _running(command, Path(scratch), victim.url + "/readyz") as pid:
            _battle("this service", every, victim, pid, "/healthz", photograph, minutes)
        if peers:
            port = free_port()
            command = [sys.executable, "-m", "benchmarks.peers.plain_fastapi", str(port)]
            victim = Victim("127.0.0.1", port, "/tag", together=False)
            theirs = [each for each in every if not each.ours]
            with _running(command, Path(scratch), victim.url + "/openapi.json", _PEER_BYTES) as pid:
                _battle("plain FastAPI", theirs, victim, pid, "/openapi.json", photograph, minutes)


def _battle(
    title: str,
    every: Sequence[Attack],
    victim: Victim,
    pid: int,
    probe: str,
    photograph: bytes,
    minutes: float,
) -> None:
    rows = {attack.name: Row() for attack in every}
    for _ in range(3):
        victim.send([photograph])
    start, at_start, first_minute = time.monotonic(), memory(pid), 0
    with Watch(victim, pid, probe, photograph) as watch:
        while time.monotonic() < start + 60 * minutes or not all(row.times for row in rows.values()):
            for attack in every:
                if rows[attack.name].times and time.monotonic() >= start + 60 * minutes:
                    break
                watch.take()
                answers = attack.run(victim)
                rows[attack.name].add(answers, watch.take(), memory(pid))
                print(f"{time.monotonic() - start:5.0f} s  {attack.name}", file=sys.stderr, flush=True)
                if not first_minute and time.monotonic() >= start + 60:
                    first_minute = memory(pid)
        time.sleep(_QUIET_SECONDS)
        quiet = watch.take()
    print(f"\n## {title}\n\n{markdown_table(_COLUMNS, [row.cells(name) for name, row in rows.items()])}\n")
    print(f"RSS of the process and its children: {at_start >> 20:,} MiB before, {first_minute >> 20:,} MiB")
    print(f"after the first minute, {memory(pid) >> 20:,} MiB at the end.")
    print(f"The attacks took {time.monotonic() - start - _QUIET_SECONDS:.0f} s.")
    print(f"Afterwards honest clients got {_counted(quiet.honest_outcomes)}.", flush=True)


@contextmanager
def _running(
    command: Sequence[str], scratch: Path, ready: str, most_bytes: int | None = None
) -> Iterator[int]:
    """The id of a server's process, from when it is ready; raises RuntimeError if that takes too long."""

    def limit() -> None:
        if most_bytes is not None:
            resource.setrlimit(resource.RLIMIT_DATA, (most_bytes, most_bytes))

    environment = {**os.environ, "PYTHONPATH": str(ROOT), "SIGRL_DATA": str(scratch / "data")}
    log = scratch / "log"
    with log.open("wb") as file:
        process = subprocess.Popen(command, env=environment, stdout=file, stderr=file, preexec_fn=limit)
    try:
        _wait(ready, process)
        yield process.pid
        status = process.poll()
        if status is not None:
            print(f"\nThe process had ended, with status {status}.")
            return
        stopped = time.monotonic()
        process.send_signal(signal.SIGTERM)
        process.wait(60)
        print(f"SIGTERM: status {process.returncode} after {time.monotonic() - stopped:.1f} s.", flush=True)
    finally:
        process.kill()
        process.wait()


def _wait(url: str, process: "subprocess.Popen[bytes]") -> None:
    end = time.monotonic() + _START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        try:
            if httpx.get(url, timeout=30).is_success:
                return
        except httpx.HTTPError:
            time.sleep(0.5)
    raise RuntimeError(f"no answer from {url}")


def _is_failure(outcome: str) -> bool:
    """Whether an honest client may complain; 429 tells it to come again."""
    return not outcome.startswith(("2", "4"))


def _counted(outcomes: Counter[str]) -> str:
    return ", ".join(f"{count} x {name}" for name, count in sorted(outcomes.items())) or "nothing"


if __name__ == "__main__":
    typer.run(main)
