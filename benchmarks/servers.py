"""Starts the servers that `benchmarks.serving` measures, and waits until they respond."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import yaml

from benchmarks.load import Target

ROOT = Path(__file__).parents[1]
START_SECONDS = 180
SIGRL = (sys.executable, "-c", "from sigrl.service.cli import main; main()")
"""The command line of this working tree."""
SERVE = (*SIGRL, "serve", "--port")
"""The command for our own server, without its port."""


class NoAnswerError(Exception):
    """A server has exited, or takes too long to start."""


def free_port() -> int:
    """A port that is free at this moment."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


@contextmanager
def running(
    command: Sequence[str], environment: Mapping[str, str], log: Path, target: Target
) -> Iterator[None]:
    """Runs a server process; entered when it responds, stopped at the end."""
    with log.open("w") as file:
        process = subprocess.Popen(command, env=environment, stdout=file, stderr=file)
    try:
        wait(target, process)
        yield
    except NoAnswerError:
        print(f"{' '.join(command)}\n{log.read_text()[-3000:]}", file=sys.stderr)
        raise
    finally:
        # Like Ctrl-C, on which Ray and LitServe also stop their child processes.
        process.send_signal(signal.SIGINT)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()


def ray_replicas(scratch: Path, port: int, count: int) -> list[str]:
    """The command for deploy/ray_serve.py with this many replicas."""
    config = yaml.safe_load((ROOT / "deploy" / "ray_serve.yaml").read_text())
    config["http_options"]["port"] = port
    config["applications"][0]["args"] |= {"min_replicas": count, "max_replicas": count}
    path = scratch / f"ray-{count}.yaml"
    path.write_text(yaml.safe_dump(config))
    return [sys.executable, "-m", "ray.serve.scripts", "run", str(path)]


def environment(scratch: Path, bundle: str, data: str, more: Mapping[str, str]) -> dict[str, str]:
    """The environment of our own server, with a separate data folder."""
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "deploy")]),
        "RAY_ADDRESS": "local",
        "SIGRL_CHECKPOINT": str(scratch / "store" / bundle),
        "SIGRL_CHECKPOINTS": str(scratch / "store"),
        "SIGRL_DATA": str(scratch / data),
        "SIGRL_VOCABULARY": "coco80",
        "SIGRL_KEYS": "off",
        **more,
    }


def wait(target: Target, process: "subprocess.Popen[bytes] | None" = None) -> None:
    """Waits until the server responds with an empty queue."""
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and (process is None or process.poll() is None):
        if target.answers(START_SECONDS):
            return
        time.sleep(0.2)
    raise NoAnswerError
