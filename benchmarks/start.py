"""`python -m benchmarks.start`: how long a command takes, how soon the service is ready, and its memory.

Every command runs once before it is measured, because the first run on a machine compiles the model. One
client then waits a minute before each of some requests. Takes about six minutes, most of them waiting.
"""

import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import httpx
import psutil

from benchmarks.measuring import markdown_table
from benchmarks.photograph_cost import SIZES, photograph
from benchmarks.servers import ROOT, SERVE, SIGRL, environment, free_port

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


def service(variables: Mapping[str, str]) -> tuple[float, float, list[float], list[float]]:
    """Seconds until the service is ready, its MiB when idle, and the seconds of requests one after another
    and of requests after a pause."""
    port = free_port()
    base, body = f"http://127.0.0.1:{port}", photograph(SIZES["400 px"])
    start = time.perf_counter()
    process = subprocess.Popen([*SERVE, str(port)], env=variables, stderr=subprocess.DEVNULL)
    try:
        with httpx.Client(base_url=base, timeout=60) as client:
            while not _is_ready(client):
                time.sleep(0.01)
            ready = time.perf_counter() - start
            idle = psutil.Process(process.pid).memory_info().rss / 2**20

            def request() -> float:
                begin = time.perf_counter()
                client.post("/v1/tag", content=body).raise_for_status()
                return time.perf_counter() - begin

            following = [request() for _ in range(100)][20:]
            paused = []
            for number in range(PAUSES):
                time.sleep(PAUSE_SECONDS)
                paused.append(request())
                print(f"pause {number + 1} of {PAUSES}", file=sys.stderr)
    finally:
        process.terminate()
        process.wait(60)
    return ready, idle, following, paused


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
        ready, idle, following, paused = service(variables)
    rows += [
        ["`sigrl serve` until it is ready", f"{ready:.2f} s"],
        ["the idle service's memory", f"{idle:.0f} MiB"],
        ["a photograph after another, p50", f"{1000 * statistics.median(following):.0f} ms"],
        ["a photograph after a pause of a minute, p50", f"{1000 * statistics.median(paused):.0f} ms"],
    ]
    print(markdown_table(["", "median"], rows))


if __name__ == "__main__":
    main()
