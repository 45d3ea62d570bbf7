"""A checkpoint whose head looks at parts of each photograph again: it is served, and what needs photographs
that were kept is refused."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from sigrl import Tagger
from sigrl.model.bundle_files import write_files
from sigrl.service.app import create_app
from sigrl.service.settings import Settings
from sigrl.training.bundles.replace_head import UntrainedHead, replace_head

PHOTOGRAPH = (Path(__file__).parents[3] / "examples" / "cat.jpg").read_bytes()
LABELS = ["dog", "cat", "sky", "red car"]
PETS = "/v1/vocabularies/pets"


@pytest.fixture(scope="module")
def tagclip(vit_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a bundle with a tagclip head."""
    directory = tmp_path_factory.mktemp("bundles") / "tagclip"
    write_files(directory, replace_head(vit_bundle, UntrainedHead.tagclip))
    return directory


@pytest.fixture
def client(tagclip: Path) -> Iterator[TestClient]:
    with TestClient(create_app(Settings(checkpoint=tagclip, recent_photographs=4))) as client:
        assert client.put(PETS, json=LABELS).status_code == 201
        yield client


def _tagged(client: TestClient, route: str) -> Any:
    data = {"labels": json.dumps(LABELS), "top_k": "4"}
    answer = client.post(route, files={"image": PHOTOGRAPH}, data=data)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_http_and_python_give_the_same_tags(client: TestClient, tagclip: Path) -> None:
    expected = Tagger(tagclip).tag(PHOTOGRAPH, LABELS, top_k=4).model_dump(mode="json")
    answer = _tagged(client, "/v1/tag")
    assert answer["images"][0]["tags"] == expected["tags"]
    assert {tag["label"] for tag in expected["tags"]} == set(LABELS)
    assert answer["vocabulary"]["calibrated"] is False


def test_its_heat_maps_have_a_number_for_each_patch(client: TestClient) -> None:
    answer = _tagged(client, "/v1/explain")
    (explained,) = answer.get("images", [answer])
    assert (explained["height"], explained["width"]) == (8, 8)


def test_what_needs_kept_photographs_is_refused(client: TestClient) -> None:
    data = {"examples": json.dumps([{"positive": ["cat"], "negative": ["dog"]}])}
    calibrated = client.post(f"{PETS}/calibrate", files={"image": PHOTOGRAPH}, data=data)
    assert calibrated.status_code == 422, calibrated.text
    assert "looks at parts of each photograph again" in calibrated.json()["detail"]
    assert client.get(PETS).json()["calibration"] is None

    _tagged(client, "/v1/tag")
    tried = client.post(f"{PETS}/dry-run", json=["dog"])
    assert tried.status_code == 409
    assert "looks at parts of each photograph again" in tried.json()["detail"]
