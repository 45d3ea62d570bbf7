#!/usr/bin/env python3
"""Builds an image from the Dockerfile and tests it without a container engine: buildah in chroot isolation.

    deploy/prove_image.py                # onnx, which builds PyTorch's stages too
    deploy/prove_image.py cpu onnx gpu   # gpu is tested without a GPU, and downloads gigabytes

The base image is made from Debian packages by mmdebstrap. Needs root, buildah, mmdebstrap, and the registries
that apt and pip are configured for. Prints its findings and the size of each image; the exit status is 1 if
a check fails.
"""

import argparse
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
BASE = "localhost/sigrl-base"
LIMITS = {"onnx": 800, "cpu": 1500, "gpu": 10_200}
"""Largest size of each image in megabytes, including the base. OpenVINO takes 180 of each."""
SECONDS_TO_READY = 120


class Images:
    """buildah with its own storage."""

    def __init__(self, work: Path) -> None:
        self.work = work
        where = ["--root", str(work / "storage"), "--runroot", str(work / "run")]
        self.command = ["buildah", *where]

    def call(self, *arguments: str) -> str:
        done = subprocess.run([*self.command, *arguments], check=True, stdout=subprocess.PIPE, text=True)
        return done.stdout.strip()

    def make_base(self) -> None:
        archive = self.work / "base.tar"
        packages = "ca-certificates,python3-venv"
        command = ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={packages}", "bookworm"]
        subprocess.run([*command, str(archive)], check=True)
        container = self.call("from", "scratch")
        self.call("add", "--quiet", container, str(archive), "/")
        self.call("commit", "--quiet", "--rm", container, BASE)
        archive.unlink()

    def build(self, target: str) -> None:
        """Builds a target. TORCH_INDEX is empty, so that pip uses the index configured on this machine."""
        arguments = [f"--build-arg={pair}" for pair in (f"BASE={BASE}", f"TARGET={target}", "TORCH_INDEX=")]
        config, paths = _pip_config()
        (self.work / "pip.conf").write_text(config)
        volumes = [f"--volume={path}:{path}:ro" for path in paths]
        options = ["--isolation=chroot", "--format=docker", "--layers", "--quiet"]
        secret = f"--secret=id=pip,src={self.work / 'pip.conf'}"
        self.call("bud", *options, secret, *volumes, *arguments, f"--tag=sigrl-tagger:{target}", str(ROOT))

    def megabytes(self, image: str) -> int:
        """Size of the unpacked files."""
        container = self.call("from", image)
        folder = self.call("mount", container)
        size = subprocess.run(["du", "-sm", "--apparent-size", folder], check=True, stdout=subprocess.PIPE)
        self.call("rm", container)
        return int(size.stdout.split()[0])

    def close(self) -> None:
        """Removes all containers and unmounts the file systems that buildah leaves mounted."""
        self.call("rm", "--all")
        mounts = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
        below = [mount for mount in mounts if Path(mount).is_relative_to(self.work)]
        if below:
            subprocess.run(["umount", *reversed(below)], check=True)


class Container:
    """Runs the image's own command as the image's own user, with `data` as its data folder."""

    def __init__(self, images: Images, image: str, data: Path) -> None:
        self.images, self.data = images, data
        self.config = json.loads(images.call("inspect", "--type=image", image))["Docker"]["config"]
        self.name = images.call("from", image)
        self.log = images.work / "service.log"
        self.key = ""
        self.process: subprocess.Popen[bytes] | None = None
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]

    def command(self, *arguments: str) -> list[str]:
        options = ["--isolation=chroot", f"--env=SIGRL_PORT={self.port}", f"--volume={self.data}:/data"]
        return [*self.images.command, "run", *options, self.name, "--", *arguments]

    def run(self, *arguments: str) -> str:
        return subprocess.run(self.command(*arguments), check=True, stdout=subprocess.PIPE, text=True).stdout

    def start(self) -> None:
        with self.log.open("w") as log:
            command = self.command(*self.config["Entrypoint"], *self.config["Cmd"])
            self.process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        end = time.monotonic() + SECONDS_TO_READY
        while not self.healthy():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < end, self.log.read_text()
            time.sleep(1)

    def healthy(self) -> bool:
        kind, *check = self.config["Healthcheck"]["Test"]
        assert kind == "CMD"
        done = subprocess.run(self.command(*check), stderr=subprocess.DEVNULL)
        return done.returncode == 0

    def ask(self, method: str, path: str, body: bytes, kind: str) -> Any:
        url = f"http://127.0.0.1:{self.port}{path}"
        headers = {"Content-Type": kind, "Authorization": f"Bearer {self.key}"}
        request = urllib.request.Request(url, body, headers, method=method)
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)

    def stop(self) -> None:
        """Stops it as an engine would, with a signal to the image's process, not to the buildah around it."""
        assert self.process is not None
        os.kill(_service_below(self.process.pid), signal.SIGTERM)
        assert self.process.wait(60) == 0, self.log.read_text()

    def kill(self) -> None:
        """Kills the process if a failed check has left it running."""
        if self.process is not None and self.process.poll() is None:
            os.kill(_service_below(self.process.pid), signal.SIGKILL)
            self.process.wait()


def prove(images: Images, target: str) -> None:
    image = f"sigrl-tagger:{target}"
    began = time.monotonic()
    images.build(target)
    print(f"{image}: built in {time.monotonic() - began:.0f} s", flush=True)
    size = images.megabytes(image)
    print(f"{image}: {size} MB, {size - images.megabytes(BASE)} MB of them on top of the base", flush=True)
    assert size <= LIMITS[target], f"larger than {LIMITS[target]} MB"

    with tempfile.TemporaryDirectory() as folder:
        container = Container(images, image, Path(folder))
        try:
            _try(container, image, target)
        finally:
            container.kill()


def _try(container: Container, image: str, target: str) -> None:
    config = container.config
    assert config["StopSignal"] == "SIGTERM"
    assert "/data" in config["Volumes"]
    user = int(config["User"].partition(":")[0])
    assert user != 0
    os.chown(container.data, user, user)
    uid = container.run("id", "-u").strip()
    assert int(uid) == user
    print(f"{image}: runs as user {uid}", flush=True)
    _check_contents(container, target)

    container.key = container.run("sigrl", "key", "create", "proof", "--scope", "vocabulary").strip()
    container.start()
    print(f"{image}: ready according to its health check", flush=True)
    photograph = (ROOT / "examples" / "cat.jpg").read_bytes()
    vocabulary = (ROOT / "examples" / "vocabulary.json").read_bytes()
    answer = container.ask("POST", "/v1/tag?labels=cat,rocket&top_k=1", photograph, "image/jpeg")
    tag = answer["images"][0]["tags"][0]
    assert (tag["label"], tag["accepted"]) == ("cat", True), answer
    print(f"{image}: examples/cat.jpg is {tag['label']}, {tag['probability']:.0%}", flush=True)
    container.ask("PUT", "/v1/vocabularies/house", vocabulary, "application/json")
    container.stop()
    assert not container.healthy()
    print(f"{image}: stops on SIGTERM", flush=True)

    container.start()
    answer = container.ask("POST", "/v1/tag?vocabulary=house", photograph, "image/jpeg")
    assert answer["vocabulary"]["name"] == "house", answer
    container.run("sigrl", "doctor")
    container.stop()
    print(f"{image}: a registered vocabulary survives a restart", flush=True)


def _check_contents(container: Container, target: str) -> None:
    lacking = ["pip", "hatchling"] + ["torch"] * (target == "onnx")
    names = container.run(
        "python",
        "-c",
        "import importlib.util as u, sys; print(*[n for n in sys.argv[1:] if u.find_spec(n)])",
        *lacking,
    )
    assert names.split() == [], f"{names} should not be in the image"
    for path in ["/etc/pip.conf"] + ["/usr/bin/gcc"] * (target != "gpu"):
        found = container.run("sh", "-c", f"test -e {shlex.quote(path)} && echo there || true")
        assert found == "", f"{path} should not be in the image"


def _service_below(pid: int) -> int:
    """The service in a chain of processes of which each has a single child; the service, the first that is
    Python, may have several."""
    while not Path(_program(pid)).name.startswith("python"):
        children = [
            child
            for thread in Path(f"/proc/{pid}/task").iterdir()
            for child in (thread / "children").read_text().split()
        ]
        if not children:
            break
        pid = int(children[0])
    return pid


def _program(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text().partition("\0")[0]


def _pip_config() -> tuple[str, set[Path]]:
    """pip's configuration on this machine, from files and variables, and the paths that it refers to."""
    told = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], check=True, stdout=subprocess.PIPE, text=True
    ).stdout
    # Variables override files.
    files = re.findall(r"^global\.([\w-]+)='(.*)'$", told, re.MULTILINE)
    options = dict(files + re.findall(r"^:env:\.([\w-]+)='(.*)'$", told, re.MULTILINE))
    paths = set[Path]()
    for value in options.values():
        for found in re.findall(r"(?:file://|^|\s)(/[^\s']+)", value):
            path = Path(found)
            # A folder of wheels may refer to folders beside it.
            paths.add(path if path.is_file() else Path(*path.parts[:3]))
    lines = [f"{name} = {value}" for name, value in options.items()]
    return "\n".join(["[global]", *lines, ""]), {path for path in paths if path.exists()}


def _target(name: str) -> str:
    # Not argparse's `choices`, which reject the empty list that `*` yields without arguments.
    if name not in LIMITS:
        raise argparse.ArgumentTypeError(f"{name} is not one of {', '.join(LIMITS)}")
    return name


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("targets", nargs="*", type=_target, metavar="|".join(LIMITS))
    parser.add_argument("--work", type=Path, help="Folder that keeps base and layers for the next run.")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sigrl-image-") as temporary:
        images = Images(arguments.work or Path(temporary))
        try:
            if not images.call("images", "--quiet", "--filter", f"reference={BASE}"):
                images.make_base()
            for target in arguments.targets or ["onnx"]:
                prove(images, target)
        finally:
            images.close()


if __name__ == "__main__":
    main()
