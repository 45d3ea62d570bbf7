"""Changes of a vocabulary are tried on photographs tagged lately."""

from collections.abc import Iterator
from typing import Any

import pytest
import sample_images as samples
from fake_engine import FakeEngine
from fastapi.testclient import TestClient
from PIL import Image

from sigrl.service.app import create_app
from sigrl.service.settings import Settings
from sigrl.service.tagging.tagger import Tagger

COLOURS = "/v1/vocabularies/colours"


def _tag(client: TestClient, *colours: str) -> None:
    for colour in colours:
        photograph = samples.encode(Image.new("RGB", (40, 40), colour), "PNG")
        assert client.post("/v1/tag", content=photograph).status_code == 200


@pytest.fixture
def client(tagger: Tagger) -> Iterator[TestClient]:
    with TestClient(create_app(Settings(recent_photographs=4), tagger)) as client:
        client.put(COLOURS, json=["red", "blue", "white"])
        yield client


def _changes(answer: dict[str, Any]) -> dict[str, tuple[Any, ...]]:
    return {
        each["label"]: (each["change"], each["tagged_before"], each["tagged_after"], each["changed"])
        for each in answer["labels"]
    }


def test_dry_run_reports_changes_without_applying_them(client: TestClient) -> None:
    _tag(client, "black", "red", "red", "blue", "lime")
    strict = {"name": "red", "threshold": 0.999}
    answer = client.post(f"{COLOURS}/dry-run", json={"labels": [strict, "white", "green"]}).json()
    # The four tagged last.
    assert answer["photographs"] == 4
    assert _changes(answer) == {
        "red": ("kept", 2, 0, 2),
        "blue": ("gone", 1, 0, 1),
        "green": ("new", 0, 1, 1),
    }
    red = next(each for each in answer["labels"] if each["label"] == "red")
    assert (red["threshold_before"], red["threshold_after"]) == (0.5, 0.999)
    assert (answer["before"]["version"], answer["after"]["version"]) == (1, None)
    assert client.get(COLOURS).json()["version"] == 1
    same = client.post(f"{COLOURS}/dry-run", json=["red", "blue", "white"]).json()
    assert (same["changed_tags"], same["labels"]) == (0.0, [])


def test_dry_run_requires_recent_images_of_this_checkpoint(client: TestClient, engine: FakeEngine) -> None:
    told = client.post(f"{COLOURS}/dry-run", json=["red"])
    assert (told.status_code, told.json()["type"]) == (409, "urn:sigrl:problem:no-recent-photographs")
    _tag(client, "red")
    assert client.post(f"{COLOURS}/dry-run", json=["red"]).json()["photographs"] == 1
    engine.checkpoint_id = "sha256:another"
    assert client.post(f"{COLOURS}/dry-run", json=["red"]).status_code == 409


def test_recent_images_are_kept_only_if_enabled(tagger: Tagger) -> None:
    with TestClient(create_app(Settings(), tagger)) as client:
        client.put(COLOURS, json=["red"])
        _tag(client, "red")
        told = client.post(f"{COLOURS}/dry-run", json=["red"]).json()
        assert "SIGRL_RECENT_PHOTOGRAPHS" in told["hint"]


def test_invalid_vocabulary_is_rejected(client: TestClient) -> None:
    _tag(client, "red")
    assert client.post(f"{COLOURS}/dry-run", json=[]).status_code == 422
    assert client.post("/v1/vocabularies/nobodys/dry-run", json=["red"]).status_code == 404
