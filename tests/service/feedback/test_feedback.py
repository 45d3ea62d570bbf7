"""Feedback on tags: stored, reported, exported and deleted."""

import zipfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import sample_images as samples
from fastapi.testclient import TestClient
from PIL import Image

from sigrl.model.labelled_files import read_label_file
from sigrl.model.vocabulary import Vocabulary
from sigrl.service.app import create_app
from sigrl.service.database.database import Database
from sigrl.service.errors import FeedbackFullError
from sigrl.service.feedback.store import FeedbackStore
from sigrl.service.settings import Settings
from sigrl.service.tagging.tagger import Tagger
from sigrl.service.vocabularies.examples import Example
from sigrl.training.data.folder import read_folder

FEEDBACK = "/v1/feedback"
PHOTOGRAPH = ("image", ("photo.jpg", samples.exif_rotated("JPEG", 6)))
OTHER = ("image", ("other.png", samples.encode(samples.picture(), "PNG")))


@pytest.fixture
def client(tagger: Tagger) -> Iterator[TestClient]:
    with TestClient(create_app(Settings(feedback_bytes=1 << 20), tagger)) as client:
        yield client


def _give(client: TestClient, photograph: Any = PHOTOGRAPH, **data: Any) -> Any:
    return client.post(FEEDBACK, files=[photograph], data=data)


def _problem(response: Any, status: int, code: str) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.json()["type"] == f"urn:sigrl:problem:{code}"
    problem: dict[str, Any] = response.json()
    return problem


def test_latest_feedback_for_a_tag_replaces_earlier_feedback(client: TestClient) -> None:
    first = _give(client, right="red, blue", wrong="dog").json()
    assert (first["right"], first["wrong"]) == (["blue", "red"], ["dog"])
    again = _give(client, right=["dog", '["salt, pepper"]'], wrong="red").json()
    assert again["photograph"] == first["photograph"]
    assert (again["right"], again["wrong"]) == (["blue", "dog", "salt, pepper"], ["red"])
    _give(client, OTHER, wrong="red")
    summary = client.get(FEEDBACK).json()
    assert summary["photographs"] == 2
    assert {"tag": "red", "right": 0, "wrong": 2} in summary["tags"]
    assert 0 < summary["bytes"] <= summary["max_bytes"]


def test_feedback_export_can_be_read_by_training(client: TestClient, tmp_path: Path, sigrl: Any) -> None:
    _give(client, right=["red", '["a; b, c"]'], wrong="dog")
    _give(client, OTHER, wrong="red")
    archive = client.get(f"{FEEDBACK}/export")
    assert archive.headers["content-type"] == "application/zip"
    with zipfile.ZipFile(BytesIO(archive.content)) as packed:
        packed.extractall(tmp_path / "zip")
    status, out, _ = sigrl("feedback", "export", tmp_path / "folder")
    assert (status, out) == (0, f"{tmp_path / 'folder'}: 2 photographs\n")
    for folder in (tmp_path / "zip", tmp_path / "folder"):
        rows = read_label_file(folder / "labels.jsonl")
        assert sorted((row.positive, row.negative) for row in rows) == [
            ((), ("red",)),
            (("a; b, c", "red"), ("dog",)),
        ]
        read = read_folder(folder, folder / "labels.jsonl", Vocabulary.from_names(["red", "dog", "a; b, c"]))
        assert sorted(read.labels.tolist()) == [[-1, 0, 0], [1, -1, 1]]
        for row in rows:
            with Image.open(folder / row.image) as image:
                assert (image.size, dict(image.getexif())) == ((48, 32), {})
    status, _, err = sigrl("feedback", "export", tmp_path / "folder")
    assert status == 2
    assert "already exists" in err


def test_feedback_can_be_deleted(client: TestClient) -> None:
    photograph = _give(client, right="red").json()["photograph"]
    assert client.delete(f"{FEEDBACK}/photographs/{photograph}").status_code == 204
    assert client.get(FEEDBACK).json()["photographs"] == 0
    _problem(client.delete(f"{FEEDBACK}/photographs/{photograph}"), 404, "feedback-not-found")
    _problem(client.delete(f"{FEEDBACK}/photographs/one"), 422, "invalid-parameter")


@pytest.mark.parametrize(
    ("files", "data", "code"),
    [
        ([PHOTOGRAPH], {}, "invalid-labels"),
        ([PHOTOGRAPH], {"right": "red", "wrong": "red"}, "invalid-labels"),
        ([PHOTOGRAPH], {"right": "red", "tags": "blue"}, "invalid-parameter"),
        ([PHOTOGRAPH], {"right": "[1]"}, "invalid-labels"),
        ([("photo", PHOTOGRAPH[1])], {"right": "red"}, "invalid-parameter"),
        ([PHOTOGRAPH, OTHER], {"right": "red"}, "invalid-request"),
        ([("image", ("a.jpg", b"\xff\xd8\xff no photograph"))], {"right": "red"}, "damaged-image"),
    ],
)
def test_invalid_feedback_is_rejected(client: TestClient, files: Any, data: Any, code: str) -> None:
    assert _problem(client.post(FEEDBACK, files=files, data=data), 422, code)["hint"]
    assert client.get(FEEDBACK).json()["photographs"] == 0


def test_feedback_is_off_by_default_and_limited_in_size(tagger: Tagger) -> None:
    with TestClient(create_app(Settings(), tagger)) as client:
        told = _problem(_give(client, right="red"), 403, "feedback-off")
        assert "SIGRL_FEEDBACK_BYTES" in told["hint"]
    with TestClient(create_app(Settings(feedback_bytes=1000), tagger)) as client:
        assert _give(client, right="red").status_code == 200
        _problem(_give(client, OTHER, right="red"), 507, "feedback-full")
        assert _give(client, right="blue").status_code == 200


def test_feedback_is_stored_in_either_database(stored: Settings) -> None:
    database = Database.open(stored)
    store = FeedbackStore(database)
    for number in range(250):
        store.add(Example(f"sha256:{number:064x}", bytes([number]) * 10, {"dog": number % 2 == 0}), 2500)
    assert [each.photograph[0] for each in store.all()] == list(range(250))
    assert store.counts().right == store.counts().wrong == {"dog": 125}
    with pytest.raises(FeedbackFullError, match=r"2,500 of 2,500 bytes"):
        store.add(Example("sha256:new", b"a", {"dog": True}), 2500)
    database.close()
