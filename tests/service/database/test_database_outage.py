import os
import signal
import sqlite3
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
import sample_images as samples
from fastapi.testclient import TestClient
from postgres_server import PostgresServer

from sigrl.model.vocabulary import Vocabulary
from sigrl.service.app import create_app
from sigrl.service.database.database import FILE_NAME
from sigrl.service.database.timeouts import RETRY_SECONDS, Outage
from sigrl.service.errors import StoreError
from sigrl.service.settings import Settings
from sigrl.service.tagging.tagger import Tagger
from sigrl.service.vocabularies.queries import Entry
from sigrl.service.vocabularies.registry import VocabularyRegistry


@contextmanager
def _stopped(server: PostgresServer) -> Iterator[None]:
    """All processes of the server hang, as they do behind a network that is cut."""
    main = (server.folder / "data" / "postmaster.pid").read_text().split()[0]
    children = Path(f"/proc/{main}/task/{main}/children").read_text().split()
    processes = [int(process) for process in (main, *children)]
    for process in processes:
        os.kill(process, signal.SIGSTOP)
    try:
        yield
    finally:
        for process in processes:
            os.kill(process, signal.SIGCONT)


def test_hanging_database_times_out_and_is_retried_later(postgres: PostgresServer) -> None:
    registry = VocabularyRegistry.open(Settings(database_url=postgres.new_database(), database_seconds=0.5))
    registry.put("pets", Vocabulary.from_names(["red"]))
    registry.get("pets")
    with _stopped(postgres):
        with pytest.raises(StoreError):
            registry.entries()
        # What was read last goes on.
        assert registry.get("pets").names == ("red",)
        with pytest.raises(StoreError):
            registry.put("pets", Vocabulary.from_names(["blue"]))
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            registry.put("pets", Vocabulary.from_names(["green"]))
            break
        except StoreError:
            time.sleep(0.2)
    assert registry.get("pets").names == ("green",)
    registry.close()


def test_requests_without_database_are_answered_while_it_hangs(
    tagger: Tagger, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers_again = threading.Event()

    def hang(*_: object) -> list[Entry]:
        answers_again.wait(20)
        return []

    monkeypatch.setattr(VocabularyRegistry, "entries", hang)
    with TestClient(create_app(Settings(), tagger)) as client, ThreadPoolExecutor(60) as pool:
        # More than there are threads of any kind.
        waiting = [pool.submit(client.get, "/v1/vocabularies") for _ in range(60)]
        assert client.post("/v1/tag?labels=red", content=samples.jpeg()).status_code == 200
        assert client.get("/readyz").status_code == 200
        assert not any(each.done() for each in waiting)
        answers_again.set()
        assert {each.result(60).status_code for each in waiting} == {200}


def test_write_to_a_locked_file_times_out_but_reads_succeed(data_folder: Path) -> None:
    registry = VocabularyRegistry.open(Settings(database_seconds=0.2))
    registry.put("pets", Vocabulary.from_names(["red"]))
    holder = sqlite3.connect(data_folder / FILE_NAME, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError):
        registry.put("pets", Vocabulary.from_names(["blue"]))
    assert registry.get("pets").names == ("red",)
    holder.close()
    registry.put("pets", Vocabulary.from_names(["green"]))
    assert registry.get("pets").names == ("green",)
    registry.close()


def test_calls_fail_fast_after_an_outage_until_one_retries() -> None:
    now = [0.0]
    outage = Outage(lambda: now[0])
    quick = outage.begin()
    outage.failed(quick)
    slow = outage.begin()
    now[0] = 5.0
    outage.failed(slow)
    with pytest.raises(StoreError):
        outage.begin()
    now[0] += RETRY_SECONDS
    trying = outage.begin()
    with pytest.raises(StoreError):
        outage.begin()
    outage.answered()
    assert outage.begin() == trying
