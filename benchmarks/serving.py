"""Our service compared with others under load, all with a ViT-B/16 of random weights on this machine:

    pip install -e '.[bench,ray]' litserve && python -m benchmarks.serving

infinity takes part when `--infinity` names the Python of its environment (see `peers.infinity_server`).
Prints the table of docs/benchmarks.md: what each server answers to one client and to sixteen, and how long an
answer takes at a stated rate. All servers are up all the time, and every round gives each its turn, so that
what a shared machine does hits all of them. Takes about twelve minutes.
"""

import argparse
import base64
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from benchmarks.load import Outcome, Target, as_form
from benchmarks.measuring import markdown_table
from benchmarks.servers import ROOT, SERVE, NoAnswerError, environment, free_port, running
from benchmarks.subjects import vit_description
from sigrl.model.bundle import TaggingModel, save_bundle
from sigrl.model.bundle_files import write_files
from sigrl.model.config import HeadConfig
from sigrl.training.bundles.export import export
from sigrl.training.bundles.int8 import with_int8_tower

CLIENTS = 16
RATE = 5.0
"""Requests per second of the open loop, which every server can answer."""
PLAIN = "FastAPI + open_clip, bfloat16"
OPTIONAL = (
    ("LitServe, bfloat16", "litserve_server", "litserve"),
    ("Ray Serve, @serve.batch, bfloat16", "ray_batching", "ray"),
)
"""Name, module and required package of the peers that need one."""
FLOAT, INT8 = "clip", "clip-int8"
"""The bundles, by the name of their folder."""


@dataclass(frozen=True)
class Server:
    """A server to measure: its command, with the port as last argument, and its requests."""

    command: Sequence[str]
    path: str = "/tag"
    request: Callable[[bytes], dict[str, Any]] = as_form
    bundle: str = FLOAT
    """The bundle, for our own server."""
    variables: Mapping[str, str] = field(default_factory=dict)
    """Further settings of our own server."""


@dataclass
class Measured:
    """The results of one server over all rounds."""

    alone: Outcome = field(default_factory=Outcome)
    loaded: Outcome = field(default_factory=Outcome)
    at_rate: Outcome = field(default_factory=Outcome)


def servers(store: Path, infinity: Path | None) -> dict[str, Server]:
    """All servers that can run here, with the bundles in `store`. All have CLIP's head, so that differences
    are the server's."""

    def ours(bundle: str, **variables: str) -> Server:
        return Server(SERVE, "/v1/tag", bundle=bundle, variables=variables)

    def peer(module: str, *arguments: str) -> Server:
        return Server((sys.executable, "-m", f"benchmarks.peers.{module}", *arguments))

    found = {
        "SigRL Tagger, OpenVINO, bfloat16": ours(FLOAT, SIGRL_ENGINE="openvino"),
        "SigRL Tagger, OpenVINO, int8": ours(INT8, SIGRL_ENGINE="openvino"),
        "SigRL Tagger, torch, bfloat16": ours(FLOAT, SIGRL_ENGINE="torch"),
        "SigRL Tagger, torch, int8, compiled": ours(FLOAT, SIGRL_PRECISION="int8", SIGRL_COMPILED="1"),
        PLAIN: peer("plain_fastapi"),
        "FastAPI + OpenVINO, bfloat16": peer("plain_openvino", str(store / FLOAT)),
        "FastAPI + OpenVINO, int8": peer("plain_openvino", str(store / INT8)),
    }
    for name, module, needs in OPTIONAL:
        if find_spec(needs) is None:
            print(f"{name} is left out: {needs} is not installed", file=sys.stderr)
        else:
            found[name] = peer(module)
    if infinity is not None:
        script = str(ROOT / "benchmarks" / "peers" / "infinity_server.py")
        found["infinity, int8"] = Server(
            (str(infinity), script, "int8", str(store.parent)), "/embeddings", _as_data_uri
        )
    return found


def measure(targets: dict[str, Target], rounds: int, seconds: float) -> dict[str, Measured]:
    """Measures every target in every round."""
    measured = {name: Measured() for name in targets}
    for target in targets.values():
        target.saturate(seconds / 2, CLIENTS)
    for number in range(rounds):
        for name, target in targets.items():
            measured[name].alone += target.saturate(seconds / 2, 1)
            measured[name].loaded += target.saturate(seconds, CLIENTS)
            measured[name].at_rate += target.at_rate(seconds, RATE)
        print(f"round {number + 1} of {rounds}", file=sys.stderr)
    return measured


def table(measured: dict[str, Measured]) -> str:
    """A row for each server, with ratios to the plain endpoint."""
    plain = measured[PLAIN].loaded.per_second
    header = [
        *("", "one client: photographs/s", "p50 ms", f"{CLIENTS} clients: photographs/s", "ratio"),
        f"p50 / p95 / p99 ms at {RATE:g}/s",
    ]
    rows = [
        [
            name,
            *(f"{each.alone.per_second:.1f}", f"{each.alone.percentiles()[0]:.0f}"),
            *(f"{each.loaded.per_second:.1f}", f"{each.loaded.per_second / plain:.2f}"),
            " / ".join(f"{value:.0f}" for value in each.at_rate.percentiles()),
        ]
        for name, each in measured.items()
    ]
    return markdown_table(header, rows)


def main() -> None:
    """See above."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=6, help="of each phase; with one client, half of it")
    parser.add_argument("--infinity", type=Path, metavar="PYTHON")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="names of servers")
    arguments = parser.parse_args()
    only = arguments.only
    paths = sorted((ROOT / "examples").glob("*.jpg"))
    photographs = [path.read_bytes() for path in paths]
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        scratch = Path(folder)
        found = servers(scratch / "store", arguments.infinity)
        if unknown := [name for name in only if name not in found]:
            parser.error(f"no server is named {unknown[0]!r}: choose from {', '.join(found)}")
        _save_bundles(scratch / "store", paths)
        targets = {}
        for name, server in found.items():
            # Every ratio needs the plain endpoint.
            if only and name not in (*only, PLAIN):
                continue
            port = free_port()
            target = Target(f"http://127.0.0.1:{port}{server.path}", photographs, server.request)
            variables = environment(scratch, server.bundle, f"data-{port}", server.variables)
            command = [*server.command, str(port)]
            try:
                stack.enter_context(running(command, variables, scratch / f"{port}.log", target))
            except NoAnswerError:
                if name == PLAIN:
                    raise  # Every ratio needs it.
                print(f"{name} is left out: it does not answer", file=sys.stderr)
                continue
            print(f"{name} answers", file=sys.stderr)
            targets[name] = target
        measured = measure(targets, arguments.rounds, arguments.seconds)
    print(table(measured))
    refused = {
        name: dict(ends)
        for name, each in measured.items()
        if set(ends := each.alone.statuses + each.loaded.statuses + each.at_rate.statuses) != {"200"}
    }
    print(f"\nAnswers other than 200: {refused or 'none'}")


def _as_data_uri(photograph: bytes) -> dict[str, Any]:
    uri = f"data:image/jpeg;base64,{base64.b64encode(photograph).decode()}"
    # As its clients do: the other encoding is a decimal number per dimension.
    asked = {"model": "clip", "modality": "image", "encoding_format": "base64", "input": [uri]}
    return {"json": asked}


def _save_bundles(store: Path, photographs: Sequence[Path]) -> None:
    """The ViT-B/16 with CLIP's head and graphs, and the same with its tower in int8."""
    head = HeadConfig(kind="clip", form="context")
    description = vit_description("context").model_copy(update={"head": head})
    torch.manual_seed(0)
    model = TaggingModel(description.backbone, head)
    save_bundle(store / "without-graphs", description, model.state_dict())
    files = export(store / "without-graphs", lambda *_: None)
    write_files(store / FLOAT, files)
    write_files(store / INT8, with_int8_tower(files, photographs))


if __name__ == "__main__":
    main()
