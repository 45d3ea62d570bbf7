"""Freed memory goes back to the system after work that needs much of it; measured in a child process."""

import subprocess
import sys
import time
from typing import Any

import pytest
from fake_engine import FakeEngine
from fastapi.testclient import TestClient

from sigrl.service.app import create_app
from sigrl.service.http import bodies
from sigrl.service.settings import Settings
from sigrl.service.tagging import encoded_labels
from sigrl.service.tagging.tagger import Tagger

_CHILD = """
from pathlib import Path
from sigrl.service.tagging.freed_memory import keep_freed_memory, return_freed_memory

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 >> 20

keep_freed_memory()
before = resident()
blocks = [bytearray(b"x" * 100_000) for _ in range(1_000)]
blocks.append(blocks)  # as an exception's traceback does, whose frame holds the exception
last = bytearray(100_000)
del blocks
kept = resident() - before
return_freed_memory()
print(kept, resident() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_return_memory_gives_freed_memory_back_to_the_system() -> None:
    ran = subprocess.run([sys.executable, "-c", _CHILD], capture_output=True, text=True, check=True)
    kept, left = map(int, ran.stdout.split())
    assert kept > 80
    assert left < 20


@pytest.fixture
def returned(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    calls: list[bool] = []
    for module in (bodies, encoded_labels):
        monkeypatch.setattr(module, "return_freed_memory", lambda: calls.append(True))
    return calls


def test_memory_is_returned_after_encoding_many_labels(
    returned: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoded_labels, "_MANY_LABELS", 3)
    tagger = Tagger(engine=FakeEngine())
    for names, times in ((["a", "b"], 0), (["a", "b", "c"], 1), (["a", "b", "c"], 1)):
        tagger.prepare(names)
        assert len(returned) == times


def test_memory_is_returned_after_large_bodies(
    returned: list[bool], tagger: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies, "_MUCH_HELD", 1_000_000)
    monkeypatch.setattr(bodies, "_UNTIL_FREED_SECONDS", 0)
    with TestClient(create_app(Settings(), tagger)) as client:
        for size in (1_000, 2_000_000, 1_000):
            assert client.post("/v1/tag", content=bytes(size)).status_code == 415
        until = time.monotonic() + 10
        while not returned and time.monotonic() < until:
            time.sleep(0.01)
    assert len(returned) == 1
