"""Which photographs to label next: the choice, its routes and its command; and what a calibration gains."""

import csv
import json
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import httpx
import numpy as np
import pytest
from fake_engine import FakeEngine
from PIL import Image
from two_checkpoints import serving

from sigrl.service.app import create_app
from sigrl.service.settings import Settings
from sigrl.service.tagging.tagger import Tagger
from sigrl.service.vocabularies.suggesting import doubt, suggest

COLOURS = "/v1/vocabularies/colours"


def test_doubt_is_highest_for_probabilities_near_one_half() -> None:
    doubts = [doubt(np.array(p)) for p in ([0.5, 0.5], [0.5, 0.0], [0.1, 0.0], [1.0, 0.0])]
    assert doubts == sorted(doubts, reverse=True)
    assert doubts[0] == pytest.approx(2 * np.log(2))
    assert doubts[-1] == pytest.approx(0, abs=1e-6)


def test_suggest_ranks_by_doubt_and_skips_similar_images() -> None:
    angles = np.array([0.0, 0.05, 1.2, 0.0])
    embeddings = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    doubts = np.array([1.0, 0.95, 0.5, 1.0])
    assert suggest(embeddings, doubts, 2) == [0, 2]
    # The fourth is a copy of the first.
    assert suggest(embeddings, doubts, 4) == [0, 2, 1]
    assert suggest(embeddings, np.zeros(4), 2) == [0, 2]
    assert suggest(embeddings[:0], doubts[:0], 4) == []


def test_suggested_images_are_spread_over_doubtful_groups() -> None:
    generator = np.random.default_rng(0)
    centres = np.eye(8)[:6]
    group = np.repeat(np.arange(6), [500, 20, 20, 20, 20, 20])
    embeddings = centres[group] + generator.normal(0, 0.05, (600, 8))
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    # Most photographs are of the first group, and nothing is in doubt there.
    doubts = np.where(group == 0, 0.01, 1.0) * generator.uniform(0.8, 1, 600)
    assert set(group[suggest(embeddings, doubts, 5)]) == {1, 2, 3, 4, 5}


@pytest.fixture
def server(engine: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> Iterator[httpx.Client]:
    engine.has_background = True
    with serving(create_app(Settings(), Tagger(engine=engine))) as client:
        client.put(COLOURS, json=["red", "green", "blue"])
        monkeypatch.setenv("SIGRL_SERVER", str(client.base_url))
        yield client


def _photograph(*colour: int) -> bytes:
    content = BytesIO()
    Image.new("RGB", (40, 40), colour).save(content, "PNG")
    return content.getvalue()


def _files(*photographs: bytes) -> list[tuple[str, tuple[str, bytes]]]:
    return [("image", (f"{place}.png", each)) for place, each in enumerate(photographs)]


def test_candidates_and_suggest_routes_rank_images(server: httpx.Client) -> None:
    certain, doubtful = _photograph(255, 0, 0), _photograph(154, 0, 0)
    answer = server.post(f"{COLOURS}/candidates", files=_files(certain, b"nothing", doubtful)).json()
    first, broken, last = answer["images"]
    assert broken["error"]["type"] == "urn:sigrl:problem:unsupported-image"
    assert first["likely"][0] == "red"
    assert last["doubt"] > first["doubt"]
    assert np.linalg.norm(last["embedding"]) == pytest.approx(1, abs=1e-4)
    asked = {
        "embeddings": [first["embedding"], last["embedding"]],
        "doubts": [first["doubt"], last["doubt"]],
    }
    assert server.post(f"{COLOURS}/suggest", json=asked).json() == {"suggested": [1, 0]}
    assert server.post(f"{COLOURS}/suggest", json={**asked, "count": 1}).json() == {"suggested": [1]}


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"embeddings": [[1.0], [1.0, 0.0]], "doubts": [1.0, 1.0]}, 422),
        ({"embeddings": [[1.0]], "doubts": [1.0, 1.0]}, 422),
        ({"embeddings": [[1.0]], "doubts": [-1.0]}, 422),
        ({"embeddings": [], "doubts": []}, 422),
        ({"embeddings": [[1.0]], "doubts": [1.0], "count": 0}, 422),
        ({"embeddings": [[1.0]], "doubts": [1.0], "number": 3}, 422),
        (["nothing"], 422),
    ],
)
def test_invalid_suggest_requests_are_rejected(server: httpx.Client, body: object, status: int) -> None:
    response = server.post(f"{COLOURS}/suggest", json=body)
    assert response.status_code == status, response.text
    assert response.json()["hint"]


def test_unknown_vocabulary_or_invalid_body_is_rejected(server: httpx.Client) -> None:
    files = _files(_photograph(255, 0, 0))
    assert server.post("/v1/vocabularies/nothing/candidates", files=files).status_code == 404
    assert server.post("/v1/vocabularies/nothing/suggest", json={}).status_code == 404
    assert server.post(f"{COLOURS}/suggest", content="hello").status_code == 415
    response = server.post(f"{COLOURS}/candidates", files=files, data={"labels": "red"})
    assert response.json()["type"] == "urn:sigrl:problem:invalid-parameter"


@pytest.mark.usefixtures("server")
def test_suggest_command_lists_images_and_writes_a_label_file(sigrl, tmp_path: Path) -> None:
    folder = tmp_path / "photographs"
    (folder / "older").mkdir(parents=True)
    for red in (0, 150, 154, 255):
        (folder / "older" / f"{red}.png").write_bytes(_photograph(red, 0, 0))
    (folder / "blue.png").write_bytes(_photograph(0, 0, 150))
    (folder / "broken.png").write_bytes(b"nothing")
    out = tmp_path / "labels.csv"
    status, told, err = sigrl("vocab", "suggest", "colours", folder, "--count", "2", "-o", out)
    assert (status, err) == (0, "")
    with out.open() as file:
        rows = list(csv.DictReader(file))
    assert [str(folder / row["image"]) for row in rows] == told.splitlines()
    assert {row["image"].split("/")[0] for row in rows} == {"older", "blue.png"}
    assert {row["positive"] + row["negative"] for row in rows} == {""}
    filled = out.read_text().replace(",,", ",red,blue")
    out.write_text(filled)
    assert sigrl("vocab", "calibrate", "colours", out, "--photographs", folder)[0] == 0
    status, _, err = sigrl("vocab", "suggest", "colours", folder, "-o", out)
    assert status == 2
    assert "labels in it would be lost" in err
    assert out.read_text() == filled


@pytest.mark.usefixtures("server")
def test_folder_without_usable_images_is_reported(sigrl, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"nothing")
    status, _, err = sigrl("vocab", "suggest", "colours", tmp_path)
    assert status == 2
    assert "can be used" in err


def _calibrated(server: httpx.Client, reds: range) -> dict[str, object]:
    files = _files(*(_photograph(red, 0, 0) for red in reds))
    # The owner's red begins later than the engine's.
    shown = [{"positive": ["red"] if red > 220 else [], "negative": "others"} for red in reds]
    data = {"examples": json.dumps(shown)}
    report: dict[str, object] = server.post(f"{COLOURS}/calibrate", files=files, data=data).json()
    return report


def test_calibration_reports_its_gain_on_held_out_examples(
    server: httpx.Client,
) -> None:
    assert _calibrated(server, range(216, 256, 8))["gain"] is None
    gain = _calibrated(server, range(120, 256, 4))["gain"]
    assert isinstance(gain, dict)
    assert gain["labels"] == 1
    assert gain["before"] < 0.7
    assert gain["after"] > 0.8
    assert server.get(f"{COLOURS}/calibration").json()["gain"] is None
