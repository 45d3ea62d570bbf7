"""`python -m benchmarks.beside`: the service beside other work, and two replicas on one machine.

In every round each case has its turn: one replica alone, one beside as many busy processes as there are
cores, and two replicas that share the clients. Takes about three minutes.
"""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks.engines_served import CLIENTS
from benchmarks.load import Outcome, Target
from benchmarks.measuring import markdown_table
from benchmarks.photograph_cost import SIZES, photograph
from benchmarks.servers import SERVE, environment, free_port, running
from sigrl.model.processors import available_processors

ROUNDS = 5
SECONDS = 8.0
ALONE, BUSY, TWO = "one replica alone", "beside busy processes", "two replicas"


@contextmanager
def busy_processes(count: int) -> Iterator[None]:
    """Processes that compute without a pause for the duration of a block."""
    processes = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def two_at_once(targets: list[Target]) -> Outcome:
    """Both replicas under load, with half of the clients each."""
    with ThreadPoolExecutor(len(targets)) as threads:
        found = list(threads.map(lambda target: target.saturate(SECONDS, CLIENTS // len(targets)), targets))
    together = found[0] + found[1]
    together.seconds = max(each.seconds for each in found)
    return together


def main() -> None:
    """Prints the table of docs/benchmarks.md."""
    photographs = [photograph(SIZES["400 px"])]
    measured = {ALONE: Outcome(), BUSY: Outcome(), TWO: Outcome()}
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as servers:
        targets = []
        for name in ("first", "second"):
            port = free_port()
            settings = environment(Path(scratch), "none", name, {"SIGRL_VOCABULARY": "default"})
            del settings["SIGRL_CHECKPOINT"]
            targets.append(Target(f"http://127.0.0.1:{port}/v1/tag", photographs))
            log = Path(scratch, f"{name}.log")
            servers.enter_context(running([*SERVE, str(port)], settings, log, targets[-1]))
            targets[-1].saturate(SECONDS / 2, CLIENTS)
        for number in range(ROUNDS):
            measured[ALONE] += targets[0].saturate(SECONDS, CLIENTS)
            with busy_processes(available_processors()):
                measured[BUSY] += targets[0].saturate(SECONDS, CLIENTS)
            measured[TWO] += two_at_once(targets)
            print(f"round {number + 1} of {ROUNDS}", file=sys.stderr)
    alone = measured[ALONE]
    rows = []
    for name, each in measured.items():
        p99 = each.percentiles()[2]
        ratios = (each.per_second / alone.per_second, p99 / alone.percentiles()[2])
        rows.append([name, f"{each.per_second:.1f}", f"{ratios[0]:.2f}", f"{p99:.0f}", f"{ratios[1]:.2f}"])
    header = ["", f"photographs/s, {CLIENTS} clients", "of the rate alone", "p99 ms", "of p99 alone"]
    print(markdown_table(header, rows))


if __name__ == "__main__":
    main()
