"""`python -m benchmarks.engines_served [INT8_BUNDLE]`: the bundled checkpoint on OpenVINO, on torch, and a
plain endpoint, and how long each step of one photograph alone takes. INT8_BUNDLE is the same checkpoint from
`sigrl-train export --int8`, for a row of its own.

All servers are up all the time, and every round gives each its turn, so that what a shared machine does hits
all of them. Takes about five minutes.
"""

import statistics
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.load import Outcome, Target
from benchmarks.measuring import markdown_table
from benchmarks.photograph_cost import SIZES, photograph
from benchmarks.servers import SERVE, environment, free_port, running
from sigrl.model.bundle_files import bundled_path

CLIENTS = 16
ROUNDS = 4
SECONDS = 8.0
ALONE = 100
"""Photographs of one client whose steps are timed in every round."""
STEPS = ("decode", "queue", "model", "score")
"""The steps of the header Server-Timing."""
TORCH = "SigRL Tagger, torch"
PLAIN = (sys.executable, "-m", "benchmarks.peers.plain_openvino", str(bundled_path()))
SERVERS = {
    "SigRL Tagger, OpenVINO": (SERVE, "/v1/tag", {"SIGRL_ENGINE": "openvino"}),
    TORCH: (SERVE, "/v1/tag", {"SIGRL_ENGINE": "torch"}),
    "FastAPI + OpenVINO": (PLAIN, "/tag", {}),
}
"""Command without its port, path and settings of each server."""
INT8 = "SigRL Tagger, OpenVINO, int8"


Measured = dict[str, tuple[Outcome, Outcome]]
"""Server -> what it does with one client, and with sixteen."""
Steps = dict[str, list[dict[str, float]]]
"""Server -> the milliseconds of the steps of one photograph, in each round."""


def measure(targets: dict[str, Target]) -> tuple[Measured, Steps]:
    """What each server does with one client, and with sixteen, over all rounds; and in each round, the
    milliseconds of the steps of one photograph."""
    measured = {name: (Outcome(), Outcome()) for name in targets}
    steps: Steps = {name: [] for name in targets}
    for target in targets.values():
        target.saturate(SECONDS / 4, CLIENTS)
    for number in range(ROUNDS):
        for name, target in targets.items():
            alone, loaded = measured[name]
            measured[name] = (
                alone + target.saturate(SECONDS, 1),
                loaded + target.saturate(SECONDS, CLIENTS),
            )
            steps[name].append(target.timing(ALONE))
        print(f"round {number + 1} of {ROUNDS}", file=sys.stderr)
    return measured, steps


def steps_table(steps: Steps) -> str:
    """The steps of one photograph alone, medians over the rounds; a server that names no steps has only its
    total."""
    rows = []
    for name, rounds in steps.items():
        of = {step: statistics.median(each[step] for each in rounds) for step in rounds[0]}
        named = [of[step] for step in STEPS if step in of]
        cells = [f"{each:.1f}" for each in (*named, of["total"] - sum(named))] if named else [""] * 5
        rows.append([name, *cells, f"{of['total']:.1f}"])
    return markdown_table(["one photograph alone: ms", *STEPS, "the rest", "total"], rows)


def main(int8_bundle: Annotated[Path | None, typer.Argument()] = None) -> None:
    """Print the table of docs/benchmarks.md."""
    compared = dict(SERVERS)
    if int8_bundle is not None:
        checkpoint = {"SIGRL_CHECKPOINT": str(int8_bundle.absolute())}
        compared[INT8] = (SERVE, "/v1/tag", {"SIGRL_ENGINE": "openvino", **checkpoint})
    photographs = [photograph(SIZES["400 px"])]
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as servers:
        targets = {}
        for name, (command, path, variables) in compared.items():
            port = free_port()
            settings = environment(Path(scratch), "none", name, {"SIGRL_VOCABULARY": "default", **variables})
            if "SIGRL_CHECKPOINT" not in variables:
                del settings["SIGRL_CHECKPOINT"]
            targets[name] = Target(f"http://127.0.0.1:{port}{path}", photographs)
            log = Path(scratch, f"{name}.log")
            servers.enter_context(running([*command, str(port)], settings, log, targets[name]))
        measured, steps = measure(targets)
    p50_torch, most_torch = (measured[TORCH][0].percentiles()[0], measured[TORCH][1].per_second)
    rows = []
    for name, (alone, loaded) in measured.items():
        p50, most = alone.percentiles()[0], loaded.per_second
        rows.append(
            [
                name,
                *(f"{alone.per_second:.1f}", f"{p50:.0f}", f"{p50 / p50_torch:.2f}"),
                *(f"{most:.1f}", f"{most / most_torch:.2f}"),
            ]
        )
    header = ["", "one client: photographs/s", "p50 ms", "of torch's", f"{CLIENTS} clients: photographs/s"]
    print(markdown_table([*header, "of torch's"], rows))
    print(f"\n{steps_table(steps)}")


if __name__ == "__main__":
    typer.run(main)
