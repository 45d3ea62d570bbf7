"""Replicas on one database: what is done on one holds on all."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import postgres_server
import pytest
import sample_images as samples
from two_checkpoints import load, save_other_bundle, wait_until

from sigrl.model.manifest import Description

PHOTOGRAPH = [("image", ("photo.jpg", samples.jpeg()))]
PETS = "/v1/vocabularies/pets"


class Replica:
    """A `sigrl serve` of its own."""

    def __init__(self, name: str, environment: dict[str, str], folder: Path) -> None:
        self.name = name
        with socket.create_server(("127.0.0.1", 0)) as found:
            self.port = found.getsockname()[1]
        self._environment = {**os.environ, **environment, "SIGRL_REPLICA": name, "SIGRL_PORT": str(self.port)}
        self._log = folder / f"{name}.log"
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=60)
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("ab") as log:
            command = [sys.executable, "-c", "from sigrl.service.cli import main; main()", "serve"]
            self.process = subprocess.Popen(command, env=self._environment, stdout=log, stderr=log)

    def is_ready(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self._log.read_text()
        try:
            return self.client.get("/readyz").status_code == 200
        except httpx.TransportError:
            return False

    def kill(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()

    def state(self) -> dict[str, Any]:
        state: dict[str, Any] = self.client.get("/v1/checkpoints").json()
        return state

    def tag(self, vocabulary: str = "pets") -> httpx.Response:
        return self.client.post("/v1/tag", files=PHOTOGRAPH, data={"vocabulary": vocabulary, "top_k": "3"})


@contextmanager
def _replicas(count: int, environment: dict[str, str], folder: Path) -> Iterator[list[Replica]]:
    with ExitStack() as stack:
        replicas = [Replica(f"replica-{number}", environment, folder) for number in range(count)]
        for replica in replicas:
            stack.callback(replica.client.close)
            stack.callback(replica.kill)
            replica.start()
        for replica in replicas:
            wait_until(replica.is_ready)
        yield replicas


@pytest.fixture
def store(
    tmp_path: Path, tiny_bundle: Path, tiny_description: Description, tokenizer_definition: bytes
) -> Path:
    """A folder with the bundles `one` and `two`."""
    shutil.copytree(tiny_bundle, tmp_path / "store" / "one")
    save_other_bundle(tmp_path / "store" / "two", tiny_description, tokenizer_definition)
    return tmp_path / "store"


@pytest.fixture
def environment(store: Path, data_folder: Path) -> dict[str, str]:
    return {
        "SIGRL_KEYS": "auto",
        "SIGRL_CHECKPOINT": str(store / "one"),
        "SIGRL_CHECKPOINTS": str(store),
        "SIGRL_DATA": str(data_folder),
        "SIGRL_REPLICA_SECONDS": "0.2",
        "OMP_NUM_THREADS": "1",
    }


def _promoted(replicas: list[Replica], checkpoint: str) -> Callable[[], bool]:
    def true() -> bool:
        states = [replica.state() for replica in replicas]
        names = {replica.name for replica in replicas}
        return all(
            state["active"] == checkpoint
            and state["promoted"]
            and {each["id"] for each in state["replicas"]} == names
            for state in states
        )

    return true


def test_changes_on_one_replica_apply_to_all(
    environment: dict[str, str], tmp_path: Path, store: Path
) -> None:
    with _replicas(2, environment, tmp_path) as (one, two):
        assert one.client.put(PETS, json=["dog", "cat", "red"]).is_success
        assert two.tag().json()["vocabulary"]["version"] == 1
        first = one.state()["active"]
        wait_until(_promoted([one, two], first))

        second = load(one.client, "two")
        generation = one.state()["generation"]
        assert one.client.post(f"/v1/checkpoints/{second}/activate").is_success
        wait_until(_promoted([one, two], second))
        assert {each["generation"] for each in two.state()["replicas"]} == {generation + 1}
        assert one.tag().json() == two.tag().json()

        assert two.client.post("/v1/checkpoints/rollback").is_success
        wait_until(_promoted([one, two], first))

        # What one of them cannot read leaves it as it is, and it says why.
        copy = store.parent / "elsewhere"
        shutil.copytree(store / "two", copy)
        shutil.rmtree(store / "two")
        assert one.client.post(f"/v1/checkpoints/{second}/activate").is_success
        two.client.post(f"/v1/checkpoints/{second}/unload")
        one_wants = one.state()["generation"]
        wait_until(lambda: "cannot be followed" in (two.state()["problem"] or ""))
        state = two.state()
        assert (state["active"], state["promoted"]) == (first, False)
        assert state["generation"] < one_wants
        assert two.tag().status_code == 200


def test_killed_replica_rejoins_with_the_current_state(environment: dict[str, str], tmp_path: Path) -> None:
    with _replicas(2, environment, tmp_path) as (one, two):
        one.client.put(PETS, json=["dog", "cat", "red"])
        second = load(one.client, "two")
        one.client.post(f"/v1/checkpoints/{second}/activate")
        two.kill()
        for _ in range(5):
            assert one.tag().json()["checkpoint"] == second
        # Silent for fifteen seconds it counts no more.
        wait_until(_promoted([one], second))
        two.start()
        wait_until(two.is_ready)
        wait_until(_promoted([one, two], second))
        assert two.tag().json() == one.tag().json()


def test_replicas_keep_serving_known_state_without_the_database(
    environment: dict[str, str], tmp_path: Path
) -> None:
    if postgres_server.find() is None:
        pytest.skip("PostgreSQL is not installed here")
    with postgres_server.running() as server:
        environment["SIGRL_DATABASE_URL"] = server.new_database()
        with _replicas(2, environment, tmp_path) as (one, two):
            one.client.put(PETS, json=["dog", "cat", "red"])
            answers = [replica.tag().json() for replica in (one, two)]
            second = load(one.client, "two")
            server.control("stop", "-m", "immediate")
            for _ in range(10):
                assert [replica.tag().json() for replica in (one, two)] == answers
                assert one.client.post(f"/v1/checkpoints/{second}/activate").status_code == 503
                assert one.state()["promoted"] is None
                time.sleep(0.3)
            server.control("start")
            wait_until(lambda: one.client.post(f"/v1/checkpoints/{second}/activate").is_success)
            wait_until(_promoted([one, two], second))
            assert one.tag().json() == two.tag().json() != answers[0]
