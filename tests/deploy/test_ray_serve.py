"""deploy/ray_serve.py: a replica, another one added by load, both on one database."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import sample_images as samples
import yaml
from two_checkpoints import LONG, save_other_bundle, wait_until

from sigrl.model.manifest import Description

pytest.importorskip("ray.serve")

DEPLOY = Path(__file__).parents[2] / "deploy"
PHOTOGRAPH = [("image", ("photo.jpg", samples.jpeg()))]
# The proxy chooses a replica for each request: so many reach both.
OFTEN = 20


@pytest.fixture
def client(
    tmp_path: Path,
    tiny_bundle: Path,
    tiny_description: Description,
    tokenizer_definition: bytes,
) -> Iterator[httpx.Client]:
    shutil.copytree(tiny_bundle, tmp_path / "store" / "one")
    save_other_bundle(tmp_path / "store" / "two", tiny_description, tokenizer_definition)
    environment = {
        **os.environ,
        "RAY_ADDRESS": "local",
        "PYTHONPATH": os.pathsep.join([str(DEPLOY), str(DEPLOY.parent)]),
        "SIGRL_DATA": str(tmp_path / "data"),
        "SIGRL_CHECKPOINT": str(tmp_path / "store" / "one"),
        "SIGRL_CHECKPOINTS": str(tmp_path / "store"),
        "SIGRL_REPLICA_SECONDS": "0.2",
        "SIGRL_KEYS": "auto",
    }
    create = [sys.executable, "-c", "from sigrl.service.cli import main; main()", "key", "create", "test"]
    created = subprocess.run([*create, "--scope", "admin"], env=environment, capture_output=True, text=True)
    key = next(word for word in created.stdout.split() if word.startswith("sigrl_"))
    config = yaml.safe_load((DEPLOY / "ray_serve.yaml").read_text())
    with socket.create_server(("127.0.0.1", 0)) as found:
        config["http_options"]["port"] = found.getsockname()[1]
    # Half a core each, so that two also start where there is one.
    config["applications"][0]["args"] |= {"num_cpus": 0.5, "target_ongoing_requests": 1, "upscale_delay_s": 1}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    command = [sys.executable, "-m", "ray.serve.scripts", "run"]
    with (tmp_path / "ray.log").open("w") as log:
        process = subprocess.Popen(
            [*command, str(tmp_path / "config.yaml")], env=environment, stdout=log, stderr=log
        )
    client = httpx.Client(base_url=f"http://127.0.0.1:{config['http_options']['port']}", timeout=LONG)
    try:
        wait_until(lambda: _is_ready(client) or process.poll() is not None)
        assert process.poll() is None, (tmp_path / "ray.log").read_text()
        assert client.post("/v1/tag", files=PHOTOGRAPH).status_code == 401
        client.headers["authorization"] = f"Bearer {key}"
        yield client
    finally:
        client.close()
        process.send_signal(signal.SIGINT)
        try:
            process.wait(LONG)
        except subprocess.TimeoutExpired:
            # Ray's command may outlive its signal on a busy machine; how it ends is not what is tested.
            process.kill()


def test_load_adds_a_replica_that_shares_vocabulary_and_checkpoint(client: httpx.Client) -> None:
    assert len(_state(client)["replicas"]) == 1
    with _load(client):
        wait_until(lambda: len(_state(client)["replicas"]) == 2)
    first = _state(client)["active"]
    answer = client.put("/v1/vocabularies/pets", json={"labels": ["cat", "dog"]})
    assert answer.status_code == 201, answer.text
    for _ in range(OFTEN):
        assert _tag(client)["checkpoint"] == first

    # Each request may come to another replica, which loads the bundle itself when it is asked.
    second: list[str] = []

    def activated() -> bool:
        answer = client.post("/v1/checkpoints/load", json={"bundle": "two"})
        assert answer.status_code == 202, answer.text
        second[:] = [answer.json()["id"]]
        return client.post(f"/v1/checkpoints/{second[0]}/activate").status_code == 200

    wait_until(activated)
    wait_until(lambda: _state(client)["promoted"])
    for _ in range(OFTEN):
        assert _tag(client)["checkpoint"] == second[0]


@contextmanager
def _load(client: httpx.Client) -> Iterator[None]:
    """Some clients that ask again and again."""
    over = threading.Event()

    def ask() -> None:
        with httpx.Client(base_url=client.base_url, headers=client.headers, timeout=LONG) as own:
            while not over.is_set():
                assert own.post("/v1/tag", files=PHOTOGRAPH).status_code == 200

    with ThreadPoolExecutor() as threads:
        asking = [threads.submit(ask) for _ in range(6)]
        try:
            yield
        finally:
            over.set()
        for each in asking:
            each.result(LONG)


def _is_ready(client: httpx.Client) -> bool:
    try:
        return client.get("/readyz").status_code == 200
    except httpx.TransportError:
        return False


def _state(client: httpx.Client) -> dict[str, Any]:
    state: dict[str, Any] = client.get("/v1/checkpoints").json()
    return state


def _tag(client: httpx.Client) -> dict[str, Any]:
    answer = client.post("/v1/tag", files=PHOTOGRAPH, data={"vocabulary": "pets", "top_k": "2"})
    assert answer.status_code == 200, answer.text
    tagging: dict[str, Any] = answer.json()
    assert {tag["label"] for tag in tagging["images"][0]["tags"]} == {"cat", "dog"}
    return tagging
