"""`python -m benchmarks.start`: how long a command takes, how soon the service is ready, and its memory.

Every command runs once before it is measured, because the first run on a machine compiles the model. Then a
client pauses for a minute before each of four photographs, which it sends to a service on OpenVINO and to one
on torch. Takes about six minutes, most of them waiting.
"""

import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil

from benchmarks.measuring import markdown_table
from benchmarks.photograph_cost import SIZES, photograph
from benchmarks.servers import ROOT, SERVE, SIGRL, NoAnswerError, environment, free_port

ROUNDS = 7
PAUSES = 4
PAUSE_SECONDS = 60.0
COMMANDS = {
    "`sigrl --help`": ("--help",),
    "`sigrl tag examples/cat.jpg`": ("tag", str(ROOT / "examples" / "cat.jpg")),
}


def command_seconds(command: Sequence[str], variables: Mapping[str, str]) -> tuple[float, float]:
    """Seconds and processor seconds of a command, its child processes included."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, env=variables, check=True, capture_output=True)
    seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@contextmanager
def served(variables: Mapping[str, str]) -> Iterator[tuple[httpx.Client, float, float]]:
    """A client of a service, the seconds until that was ready, and its MiB when idle."""
    port = free_port()
    start = time.perf_counter()
    process = subprocess.Popen([*SERVE, str(port)], env=variables, stderr=subprocess.DEVNULL)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            while not _is_ready(client):
                if process.poll() is not None:
                    raise NoAnswerError
                time.sleep(0.01)
            ready = time.perf_counter() - start
            yield client, ready, psutil.Process(process.pid).memory_info().rss / 2**20
    finally:
        process.terminate()
        process.wait(60)


def following(client: httpx.Client, body: bytes) -> list[float]:
    """The milliseconds of photographs one after another."""
    return [_milliseconds(client, body) for _ in range(100)][20:]


def paused(clients: Sequence[httpx.Client], body: bytes) -> list[list[float]]:
    """For each client, the milliseconds of a photograph after each pause, in which all services are idle."""
    found: list[list[float]] = [[] for _ in clients]
    for number in range(PAUSES):
        time.sleep(PAUSE_SECONDS)
        turns = list(zip(clients, found, strict=True))
        # Whoever answers first after a pause also wakes the machine.
        for client, milliseconds in reversed(turns) if number % 2 else turns:
            milliseconds.append(_milliseconds(client, body))
        print(f"pause {number + 1} of {PAUSES}", file=sys.stderr)
    return found


def _milliseconds(client: httpx.Client, body: bytes) -> float:
    begin = time.perf_counter()
    client.post("/v1/tag", content=body).raise_for_status()
    return 1000 * (time.perf_counter() - begin)


def _is_ready(client: httpx.Client) -> bool:
    try:
        return client.get("/readyz").is_success
    except httpx.TransportError:
        return False


def main() -> None:
    """Prints the table of docs/benchmarks.md."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        variables = environment(Path(folder), "none", "data", {"SIGRL_VOCABULARY": "default"})
        del variables["SIGRL_CHECKPOINT"]
        for name, arguments in COMMANDS.items():
            command = (*SIGRL, *arguments)
            runs = [command_seconds(command, variables) for _ in range(ROUNDS + 1)][1:]
            wall, processor = (statistics.median(each) for each in zip(*runs, strict=True))
            rows += [[name, f"{wall:.2f} s"], ["… processor time", f"{processor:.2f} s"]]
        torch = variables | {"SIGRL_ENGINE": "torch"}
        with served(variables) as (ours, ready, idle), served(torch) as (theirs, *_):
            body = photograph(SIZES["400 px"])
            alone = [statistics.median(following(client, body)) for client in (ours, theirs)]
            after_pause = [statistics.median(each) for each in paused((ours, theirs), body)]
    rows += [
        ["`sigrl serve` until it is ready", f"{ready:.2f} s"],
        ["the idle service's memory", f"{idle:.0f} MiB"],
        ["a photograph after another, p50; with the torch engine", _pair(alone)],
        ["a photograph after a pause of a minute, p50; with the torch engine", _pair(after_pause)],
    ]
    print(markdown_table(["", "median"], rows))


def _pair(milliseconds: Sequence[float]) -> str:
    ours, theirs = milliseconds
    return f"{ours:.0f}; {theirs:.0f} ms ({ours / theirs:.2f})"


if __name__ == "__main__":
    main()
