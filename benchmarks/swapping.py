"""`python -m benchmarks.swapping`: answers while another checkpoint is loaded and activated, at half load.

Every round has one phase without a swap and one with a swap to a bundle that the server has never seen. Takes
about eleven minutes.
"""

import sys
import tempfile
import time
from pathlib import Path

import httpx
import psutil

from benchmarks.engines_served import CLIENTS
from benchmarks.load import Outcome, Target
from benchmarks.measuring import markdown_table
from benchmarks.photograph_cost import SIZES, photograph
from benchmarks.servers import SERVE, START_SECONDS, environment, free_port, running
from sigrl.model.bundle_files import bundled_path, make_files, read_files, write_files

SWAPS = 10
SECONDS = 30.0
"""Of one phase. A swap begins half-way and has to end within the phase; its seconds are printed."""


def save_bundles(folder: Path) -> list[str]:
    """Writes copies of the bundled checkpoint that differ in their names, and so in their ids."""
    files = read_files(bundled_path())
    names = [f"copy-{number}" for number in range(SWAPS)]
    for name in names:
        description = files.manifest.model_copy(update={"name": name})
        write_files(folder / name, make_files(description, files.contents))
    return names


def swap(base: str, bundle: str) -> float:
    """Loads and activates a bundle, and unloads the one that it replaces; returns the seconds that took."""
    start = time.monotonic()
    with httpx.Client(base_url=base, timeout=START_SECONDS) as client:
        before = client.get("/v1/checkpoints").json()["active"]
        new = client.post("/v1/checkpoints/load", json={"bundle": bundle}).raise_for_status().json()["id"]
        while client.post(f"/v1/checkpoints/{new}/activate").status_code != httpx.codes.OK:
            time.sleep(0.2)
        client.post(f"/v1/checkpoints/{before}/unload").raise_for_status()
    return time.monotonic() - start


def main() -> None:
    """Prints the table of docs/benchmarks.md."""
    port = free_port()
    base = f"http://127.0.0.1:{port}"
    target = Target(f"{base}/v1/tag", [photograph(SIZES["400 px"])])
    without, during = Outcome(), Outcome()
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        variables = environment(scratch, "none", "data", {"SIGRL_VOCABULARY": "default"})
        del variables["SIGRL_CHECKPOINT"]
        bundles = save_bundles(scratch / "store")
        with running([*SERVE, str(port)], variables, scratch / "log", target):
            (server,) = (each for each in psutil.Process().children() if str(port) in each.cmdline())
            rate = target.saturate(SECONDS, CLIENTS).per_second / 2
            memory = [_mebibytes(server)]
            took: list[float] = []
            for number, bundle in enumerate(bundles):
                without += target.at_rate(SECONDS, rate)
                during += target.at_rate(SECONDS, rate, lambda bundle=bundle: took.append(swap(base, bundle)))
                memory.append(_mebibytes(server))
                print(
                    f"swap {number + 1} of {SWAPS}: {took[-1]:.1f} s, {memory[-1]:.0f} MiB", file=sys.stderr
                )
    rows = [
        [name, *(f"{each:.0f}" for each in outcome.percentiles()), str(dict(outcome.statuses))]
        for name, outcome in (("without a swap", without), ("with a swap", during))
    ]
    print(markdown_table([f"{rate:.1f} photographs/s", "p50 ms", "p95 ms", "p99 ms", "statuses"], rows))
    print(f"\np99 with a swap: {during.percentiles()[2] / without.percentiles()[2]:.2f} times that without.")
    print(f"A swap took {min(took):.1f} to {max(took):.1f} s.")
    numbers = ", ".join(f"{each:.0f}" for each in (memory[0], memory[1], memory[-1]))
    print(f"Memory before the swaps, after the first and after {SWAPS}: {numbers} MiB.")


def _mebibytes(server: psutil.Process) -> float:
    return float(server.memory_info().rss / 2**20)


if __name__ == "__main__":
    main()
