"""Our service beside others under load, all with a ViT-B/16 of random weights on this machine:

    pip install -e '.[ray]' litserve && python -m benchmarks.serving

Prints the tables of README and docs/scale.md: what they take at most, how long an answer takes at stated
rates, what becomes of twice as much as they can take, and a swap under load. All servers are up all the time;
in each round every one has its turn, so that what a shared machine does hits all of them.
"""

import argparse
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

import httpx
import torch
import yaml

from benchmarks.load import Outcome, Target
from benchmarks.measuring import markdown_table
from benchmarks.subjects import vit_description, vit_model
from model.bundle import TaggingModel, save_bundle
from model.config import HeadConfig

ROOT = Path(__file__).parents[1]
SERVE = ("-c", "from service.cli import main; main()", "serve", "--port")
OURS, SAME_WORK, PLAIN = "SigRL Tagger, SigRL's head", "SigRL Tagger, CLIP's head", "FastAPI + open_clip"
HEADS = {OURS: "sigrl", SAME_WORK: "clip"}
"""By the second the model does the work that it does in the peers: all else is the server's."""
PEERS = {
    PLAIN: ("plain_fastapi", "fastapi"),
    "LitServe": ("litserve_server", "litserve"),
    "Ray Serve, @serve.batch": ("ray_batching", "ray"),
}
"""Their modules, and what must be installed."""
CLIENTS = 16
SHARES = (0.3, 0.6, 0.9)
"""Of what the plain endpoint takes at most: the rates that all are measured at."""
_START_SECONDS = 120


@dataclass
class Measured:
    """One server, all rounds together."""

    most: Outcome = field(default_factory=Outcome)
    at_rates: dict[float, Outcome] = field(default_factory=lambda: defaultdict(Outcome))
    overload: Outcome = field(default_factory=Outcome)


def measure(targets: dict[str, Target], rounds: int, seconds: float) -> dict[str, Measured]:
    """Every target's turn in every round."""
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
            # What is left in its queue is not the next one's burden.
            _wait(target.url)
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
        # The seconds last until the last answer: what comes late counts against the rate.
        share = each.overload.per_second / each.most.per_second
        ends = ", ".join(f"{count} {status}" for status, count in each.overload.statuses.most_common())
        rows.append(
            [name, f"{each.overload.per_second:.1f}", f"{share:.2f}", _times(each.overload), f"{ends}"]
        )
    print("\n" + markdown_table(header, rows))


def swap(target: Target, base: str, seconds: float, rate: float) -> None:
    """Loads another checkpoint and activates it in the middle of the load."""
    ids: list[str] = []

    def change() -> None:
        with httpx.Client(base_url=base, timeout=_START_SECONDS) as client:
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
    """One and two replicas of a core each on Ray Serve."""
    most: dict[str, Outcome] = defaultdict(Outcome)
    with ExitStack() as stack:
        targets: dict[str, Target] = {}
        for count in (1, 2):
            address = stack.enter_context(_ray_replicas(scratch, count))
            targets[str(count)] = Target(f"{address}/v1/tag", photographs)
        for target in targets.values():
            target.saturate(seconds / 2, CLIENTS)
        for _ in range(rounds):
            for name, target in targets.items():
                most[name] += target.saturate(seconds, CLIENTS)
    alone = most["1"].per_second
    rows = [[name, f"{each.per_second:.1f}", f"{each.per_second / alone:.2f}"] for name, each in most.items()]
    print("\n" + markdown_table(["replicas of one core", "photographs/s at most", "ratio"], rows))


def main() -> None:
    """See above."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=10, help="of each phase")
    arguments = parser.parse_args()
    photographs = [path.read_bytes() for path in sorted((ROOT / "examples").glob("*.jpg"))]
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        scratch = Path(folder)
        _save_bundles(scratch)
        targets = {}
        for name, head in HEADS.items():
            base = stack.enter_context(_running(SERVE, _environment(scratch, head), scratch, "/v1/tag"))
            targets[name] = Target(f"{base}/v1/tag", photographs)
        for name, (module, needs) in PEERS.items():
            if find_spec(needs) is None:
                print(f"{name} is left out: {needs} is not installed", file=sys.stderr)
                continue
            peer = stack.enter_context(
                _running(["-m", f"benchmarks.peers.{module}"], _environment(scratch), scratch, "/tag")
            )
            targets[name] = Target(f"{peer}/tag", photographs)
        measured = measure(targets, arguments.rounds, arguments.seconds)
        print_tables(measured)
        swap(targets[SAME_WORK], base, 3 * arguments.seconds, measured[SAME_WORK].most.per_second / 2)
        stack.close()
        if find_spec("ray") is not None:
            scaling(scratch, photographs, arguments.rounds, arguments.seconds)


def _times(outcome: Outcome) -> str:
    return " / ".join(f"{each:.0f}" for each in outcome.percentiles())


def _save_bundles(scratch: Path) -> None:
    """`sigrl` and `clip`, and `two`, which is to take the place of `clip`."""
    description, model = vit_description("context"), vit_model("context")
    save_bundle(scratch / "store" / "sigrl", description, model.state_dict())
    head = HeadConfig(kind="clip", form="context")
    description = description.model_copy(update={"head": head})
    model = TaggingModel(description.backbone, head)
    for name in ("clip", "two"):
        save_bundle(scratch / "store" / name, description, model.state_dict())
        torch.nn.init.normal_(model.backbone.text.positional_embedding)


def _environment(scratch: Path, bundle: str = "sigrl") -> dict[str, str]:
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "deploy")]),
        "RAY_ADDRESS": "local",
        "SIGRL_CHECKPOINT": str(scratch / "store" / bundle),
        "SIGRL_CHECKPOINTS": str(scratch / "store"),
        "SIGRL_DATA": str(scratch / f"data-{bundle}"),
        "SIGRL_VOCABULARY": "coco80",
        "SIGRL_KEYS": "off",
    }


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


@contextmanager
def _running(
    arguments: Sequence[str], environment: dict[str, str], scratch: Path, path: str
) -> Iterator[str]:
    """The address of a server whose port is its last argument, when it answers at `path`."""
    port = _free_port()
    command = [sys.executable, *arguments, str(port)]
    with _process(command, environment, scratch / f"{port}.log", f"http://127.0.0.1:{port}{path}"):
        yield f"http://127.0.0.1:{port}"


@contextmanager
def _ray_replicas(scratch: Path, count: int) -> Iterator[str]:
    """The address of deploy/ray_serve.py with so many replicas."""
    port = _free_port()
    config = yaml.safe_load((ROOT / "deploy" / "ray_serve.yaml").read_text())
    config["http_options"]["port"] = port
    config["applications"][0]["args"] |= {"min_replicas": count, "max_replicas": count}
    path = scratch / f"ray-{count}.yaml"
    path.write_text(yaml.safe_dump(config))
    environment = _environment(scratch) | {"SIGRL_DATA": str(scratch / f"data-{count}")}
    command = [sys.executable, "-m", "ray.serve.scripts", "run", str(path)]
    address = f"http://127.0.0.1:{port}"
    with _process(command, environment, scratch / f"{port}.log", f"{address}/v1/tag"):
        yield address


@contextmanager
def _process(command: Sequence[str], environment: dict[str, str], log: Path, url: str) -> Iterator[None]:
    """A process from when it answers at `url` to its end."""
    with log.open("w") as file:
        process = subprocess.Popen(command, env=environment, stdout=file, stderr=file)
    try:
        _wait(url, process)
        yield
    except NoAnswerError:
        print(log.read_text()[-3000:], file=sys.stderr)
        raise
    finally:
        # As Ctrl-C, by which Ray and LitServe also end what they have started.
        process.send_signal(signal.SIGINT)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()


class NoAnswerError(Exception):
    """A server has ended, or takes too long."""


def _wait(url: str, process: "subprocess.Popen[bytes] | None" = None) -> None:
    """Until a photograph is answered within a second, so that nothing is queued before it."""
    photograph = (ROOT / "examples" / "cat.jpg").read_bytes()
    end = time.monotonic() + _START_SECONDS
    while time.monotonic() < end and (process is None or process.poll() is None):
        try:
            start = time.monotonic()
            status = httpx.post(url, files={"image": photograph}, timeout=_START_SECONDS).status_code
            if status == httpx.codes.OK and time.monotonic() - start < 1:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.2)
    raise NoAnswerError(f"{url} does not answer")


if __name__ == "__main__":
    main()
