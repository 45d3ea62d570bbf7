"""Our service compared with others under load, all with a ViT-B/16 of random weights on this machine:

    pip install -e '.[ray]' litserve && python -m benchmarks.serving

infinity takes part when `--infinity` names the Python of its environment (see `peers.infinity_server`).
Prints the tables of docs/benchmarks.md and docs/scale.md: what they take at most, how long an answer takes
at stated rates, what becomes of twice as much as they can take, and a swap under load. All servers are up all
the time; in each round every one has its turn, so that what a shared machine does hits all of them.
"""

import argparse
import base64
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx
import torch

from benchmarks.load import Outcome, Target, as_form
from benchmarks.measuring import markdown_table
from benchmarks.servers import ROOT, SERVE, START_SECONDS, environment, free_port, ray_replicas, running, wait
from benchmarks.subjects import vit_description, vit_model
from sigrl.model.bundle import TaggingModel, save_bundle
from sigrl.model.config import HeadConfig


@dataclass(frozen=True)
class Server:
    """A server to measure: its command, with the port as last argument, and its requests."""

    command: Sequence[str]
    path: str = "/tag"
    request: Callable[[bytes], dict[str, Any]] = as_form
    bundle: str = "sigrl"
    """The bundle, for our own server."""
    variables: Mapping[str, str] = field(default_factory=dict)
    """Further settings of our own server."""


def _ours(bundle: str, **variables: str) -> Server:
    return Server(SERVE, "/v1/tag", bundle=bundle, variables=variables)


SAME_WORK, PLAIN = "SigRL Tagger, CLIP's head", "FastAPI + open_clip"
FASTEST = {"SIGRL_PRECISION": "int8", "SIGRL_COMPILED": "1"}
OURS = {
    "SigRL Tagger, SigRL's head": _ours("sigrl"),
    SAME_WORK: _ours("clip"),
    "SigRL Tagger, SigRL's head, int8": _ours("sigrl", **FASTEST),
    "SigRL Tagger, CLIP's head, int8": _ours("clip", **FASTEST),
}
"""With CLIP's head, our model does the same work as the peers', so that differences are the server's."""
PEERS = {
    PLAIN: ("plain_fastapi", "fastapi"),
    "LitServe": ("litserve_server", "litserve"),
    "Ray Serve, @serve.batch": ("ray_batching", "ray"),
}
"""Module and required package of each peer."""
INFINITY = {"infinity, float32": "float32", "infinity, int8": "int8"}
"""The precisions that infinity offers on a CPU; there it computes float32 as bfloat16."""
CLIENTS = 16
SHARES = (0.3, 0.6, 0.9)
"""Rates at which all servers are measured, as shares of the plain endpoint's maximum throughput."""


@dataclass
class Measured:
    """The results of one server over all rounds."""

    most: Outcome = field(default_factory=Outcome)
    at_rates: dict[float, Outcome] = field(default_factory=lambda: defaultdict(Outcome))
    overload: Outcome = field(default_factory=Outcome)


def measure(targets: dict[str, Target], rounds: int, seconds: float) -> dict[str, Measured]:
    """Measures every target in every round."""
    measured = {name: Measured() for name in targets}
    rates: list[float] = []
    for target in targets.values():
        target.saturate(seconds / 2, CLIENTS)
    for number in range(rounds):
        for name, target in targets.items():
            measured[name].most += target.saturate(seconds, CLIENTS)
        rates = rates or [max(1.0, round(share * measured[PLAIN].most.per_second)) for share in SHARES]
        for rate in rates:
            for name, target in targets.items():
                measured[name].at_rates[rate] += target.at_rate(seconds, rate)
        for name, target in targets.items():
            measured[name].overload += target.at_rate(seconds, 2 * measured[name].most.per_second)
            # Waits until its queue is empty, so that the next server is not slowed down.
            wait(target)
        print(f"round {number + 1} of {rounds}", file=sys.stderr)
    return measured


def print_tables(measured: dict[str, Measured]) -> None:
    """Ratios to the plain endpoint; milliseconds; shares."""
    plain = measured[PLAIN].most.per_second
    rates = list(measured[PLAIN].at_rates)
    header = ["", "photographs/s at most", "ratio", *(f"p50 / p95 / p99 ms at {rate:g}/s" for rate in rates)]
    rows = []
    for name, each in measured.items():
        speed = each.most.per_second
        waits = [_times(each.at_rates[rate]) for rate in rates]
        rows.append([name, f"{speed:.1f}", f"{speed / plain:.2f}", *waits])
    print("\n" + markdown_table(header, rows))
    header = ["at twice that rate", "answered/s", "of the most", "p50 / p95 / p99 ms", "how all ended"]
    rows = []
    for name, each in measured.items():
        # Time counts until the last response, so that late responses lower the rate.
        share = each.overload.per_second / each.most.per_second
        ends = ", ".join(f"{count} {status}" for status, count in each.overload.statuses.most_common())
        rows.append(
            [name, f"{each.overload.per_second:.1f}", f"{share:.2f}", _times(each.overload), f"{ends}"]
        )
    print("\n" + markdown_table(header, rows))


def swap(target: Target, base: str, seconds: float, rate: float) -> None:
    """Loads another checkpoint and activates it half-way through the load."""
    ids: list[str] = []

    def change() -> None:
        with httpx.Client(base_url=base, timeout=START_SECONDS) as client:
            ids.append(client.post("/v1/checkpoints/load", json={"bundle": "two"}).json()["id"])
            while client.post(f"/v1/checkpoints/{ids[0]}/activate").status_code != httpx.codes.OK:
                time.sleep(0.2)

    without = target.at_rate(seconds, rate)
    outcome = target.at_rate(seconds, rate, change)
    active = httpx.get(f"{base}/v1/checkpoints").json()["active"]
    assert active == ids[0], "it was not activated"
    ends = ", ".join(f"{count} {status}" for status, count in outcome.statuses.items())
    print(
        f"\nA swap in the middle of {seconds:g} s at {rate:.1f}/s: {ends}; "
        f"{_times(outcome)} ms, without one {_times(without)} ms."
    )


def scaling(scratch: Path, photographs: Sequence[bytes], rounds: int, seconds: float) -> None:
    """One and two Ray Serve replicas with one core each."""
    most: dict[str, Outcome] = defaultdict(Outcome)
    with ExitStack() as stack:
        targets: dict[str, Target] = {}
        for count in (1, 2):
            port = free_port()
            target = targets[str(count)] = Target(_address(port, "/v1/tag"), photographs)
            variables = environment(scratch, "sigrl", f"data-{port}", {})
            command = ray_replicas(scratch, port, count)
            stack.enter_context(running(command, variables, scratch / f"{port}.log", target))
        for target in targets.values():
            target.saturate(seconds / 2, CLIENTS)
        for _ in range(rounds):
            for name, target in targets.items():
                most[name] += target.saturate(seconds, CLIENTS)
    alone = most["1"].per_second
    rows = [[name, f"{each.per_second:.1f}", f"{each.per_second / alone:.2f}"] for name, each in most.items()]
    print("\n" + markdown_table(["replicas of one core", "photographs/s at most", "ratio"], rows))


def servers(infinity: Path | None, scratch: Path) -> dict[str, Server]:
    """All targets that can run here."""
    found = dict(OURS)
    for name, (module, needs) in PEERS.items():
        if find_spec(needs) is None:
            print(f"{name} is left out: {needs} is not installed", file=sys.stderr)
        else:
            found[name] = Server((sys.executable, "-m", f"benchmarks.peers.{module}"))
    if infinity is not None:
        script = str(ROOT / "benchmarks" / "peers" / "infinity_server.py")
        for name, precision in INFINITY.items():
            found[name] = Server(
                (str(infinity), script, precision, str(scratch)), "/embeddings", _as_data_uri
            )
    return found


def main() -> None:
    """See above."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=10, help="of each phase")
    parser.add_argument("--infinity", type=Path, metavar="PYTHON")
    arguments = parser.parse_args()
    photographs = [path.read_bytes() for path in sorted((ROOT / "examples").glob("*.jpg"))]
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        scratch = Path(folder)
        _save_bundles(scratch)
        targets, ports = {}, {}
        for name, server in servers(arguments.infinity, scratch).items():
            port = ports[name] = free_port()
            target = Target(_address(port, server.path), photographs, server.request)
            variables = environment(scratch, server.bundle, f"data-{port}", server.variables)
            command = [*server.command, str(port)]
            stack.enter_context(running(command, variables, scratch / f"{port}.log", target))
            print(f"{name} answers", file=sys.stderr)
            targets[name] = target
        measured = measure(targets, arguments.rounds, arguments.seconds)
        print_tables(measured)
        rate = measured[SAME_WORK].most.per_second / 2
        swap(targets[SAME_WORK], _address(ports[SAME_WORK]), 3 * arguments.seconds, rate)
        stack.close()
        if find_spec("ray") is not None:
            scaling(scratch, photographs, arguments.rounds, arguments.seconds)


def _as_data_uri(photograph: bytes) -> dict[str, Any]:
    uri = f"data:image/jpeg;base64,{base64.b64encode(photograph).decode()}"
    # As its clients do: the other encoding is a decimal number per dimension.
    asked = {"model": "clip", "modality": "image", "encoding_format": "base64", "input": [uri]}
    return {"json": asked}


def _address(port: int, path: str = "") -> str:
    return f"http://127.0.0.1:{port}{path}"


def _times(outcome: Outcome) -> str:
    return " / ".join(f"{each:.0f}" for each in outcome.percentiles())


def _save_bundles(scratch: Path) -> None:
    """The bundles `sigrl` and `clip`, and `two`, which replaces `clip` in the swap."""
    description, model = vit_description("context"), vit_model("context")
    save_bundle(scratch / "store" / "sigrl", description, model.state_dict())
    head = HeadConfig(kind="clip", form="context")
    description = description.model_copy(update={"head": head})
    model = TaggingModel(description.backbone, head)
    for name in ("clip", "two"):
        save_bundle(scratch / "store" / name, description, model.state_dict())
        torch.nn.init.normal_(model.backbone.text.positional_embedding)


if __name__ == "__main__":
    main()
