"""What is shown and what is warned of, the same in Python, over HTTP and on the command line."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sample_images as samples
from fake_engine import FakeEngine
from fastapi.testclient import TestClient

from sigrl.model.label_warnings import ABSENCE
from sigrl.model.vocabulary import Label, Vocabulary
from sigrl.service.app import create_app
from sigrl.service.client import Client
from sigrl.service.settings import Settings
from sigrl.service.tagging.tagger import Tagger

PHOTOGRAPH = ("image", ("photo.jpg", samples.jpeg(), "image/jpeg"))
OWN = Vocabulary(
    name="own",
    labels=(
        Label(name="colour"),
        Label(name="red", parent="colour"),
        Label(name="green"),
        Label(name="blue", parent="colour"),
    ),
)


@pytest.fixture
def tagger(engine: FakeEngine) -> Tagger:
    engine.has_background = True
    return Tagger(engine=engine, vocabulary=OWN)


@pytest.fixture
def client(tagger: Tagger) -> Any:
    with TestClient(create_app(Settings(), tagger)) as client:
        yield client


def _labels(tags: Any) -> list[str]:
    return sorted(tag["label"] for tag in tags)


def _tag(client: TestClient, headers: dict[str, str] | None = None, **data: Any) -> Any:
    answer = client.post("/v1/tag", files=[PHOTOGRAPH], data=data, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_brief_response_over_http_lists_tags_and_implied_labels(
    client: TestClient, tagger: Tagger, photograph: Path
) -> None:
    answer = _tag(client)
    (image,) = answer["images"]
    assert (_labels(image["tags"]), _labels(image["implied"])) == (["blue", "red"], ["colour"])
    assert (image["guesses"], answer["warnings"]) == ([], [])
    tagging = tagger.tag(photograph)
    assert tagging.model_dump(mode="json")["implied"] == image["implied"]
    assert sorted(tagging.labels) == ["blue", "red"]
    line = _tag(client, {"Accept": "application/x-ndjson"})
    assert (line["image"], line["warnings"]) == (image, [])


def test_http_response_contains_guesses_and_warnings(client: TestClient) -> None:
    labels = "no dog,green,black,sofa"
    answer = _tag(client, labels=labels)
    (image,) = answer["images"]
    assert (image["tags"], image["implied"], len(image["guesses"])) == ([], [], 3)
    assert answer["warnings"] == [{"label": "no dog", "message": ABSENCE}]
    assert _tag(client, {"Accept": "application/x-ndjson"}, labels=labels)["warnings"] == answer["warnings"]
    client.put("/v1/vocabularies/odd", json={"labels": ["no dog"], "precision": 0.9})
    both = _tag(client, vocabulary=["voc20", "odd"])
    assert both["warnings"] == [[], answer["warnings"]]
    explained = client.post("/v1/explain", files=[PHOTOGRAPH], data={"vocabulary": "odd"}).json()
    assert (explained["warnings"], explained["tags"][0]["threshold"]) == (answer["warnings"], 0.9)
    refused = client.post("/v1/tag", files=[("image", ("a.jpg", b"bad"))] * 2, data={"labels": labels})
    assert refused.json()["warnings"] == []


def test_vocabulary_precision_is_stored_and_returned(client: TestClient) -> None:
    path = "/v1/vocabularies/precise"
    assert client.put(path, json={"labels": ["red", "sofa"], "precision": 0.9}).status_code == 201
    document = client.get(path).json()
    assert (document["precision"], "recall" in document) == (0.9, False)
    assert client.put(path, json=document).json()["version"] == 1
    (image,) = _tag(client, vocabulary="precise", top_k="2")["images"]
    assert {tag["label"]: tag["threshold"] for tag in image["tags"]}["sofa"] == 0.9
    bad = client.put(path, json={"labels": ["red"], "precision": 0.9, "recall": 0.9})
    assert (bad.status_code, "both a precision and a recall" in bad.json()["detail"]) == (422, True)


def test_client_returns_implied_labels_guesses_and_warnings(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, photograph: Path
) -> None:
    with Client("http://server") as ours:
        monkeypatch.setattr(ours, "_http", client)
        (result,) = ours.tag_many([photograph])
        assert [tag.label for tag in result.tagging.implied] == ["colour"]
        (result,) = ours.tag_many([photograph], ["no dog", "green"], precision=0.9)
        assert [each.label for each in result.tagging.warnings] == ["no dog"]
        assert len(result.tagging.guesses) == 2
        ours.put_vocabulary("precise", Vocabulary(labels=OWN.labels, recall=0.7))
        assert ours.get_vocabulary("precise").recall == 0.7


def test_command_line_shows_implied_labels_guesses_and_warnings(
    sigrl: Any, tagger: Tagger, photograph: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Tagger, "from_settings", lambda *_: tagger)
    status, out, err = sigrl("tag", photograph)
    assert (status, err, out.splitlines()[-1].strip()) == (0, "", "also: colour")
    status, out, err = sigrl("tag", photograph, photograph, "--labels", "no dog,green", "--precision", "0.9")
    assert (status, out.count("a guess: no dog"), err) == (0, 2, f"'no dog': {ABSENCE}\n")
    line = json.loads(sigrl("tag", photograph, "--json")[1])
    assert (_labels(line["implied"]), line["guesses"]) == (["colour"], [])
    status, _, err = sigrl("tag", photograph, "--precision", "0.9", "--recall", "0.9")
    assert (status, "both precision and recall are given" in err) == (2, True)
    out_file = photograph.parent / "tags.jsonl"
    status, _, err = sigrl("tag", photograph, "--labels", "no dog,red", "--out", out_file)
    assert (status, ABSENCE in err) == (0, True)
    assert _labels(json.loads(out_file.read_text())["tags"]) == ["red"]


def test_contact_sheet_shows_guesses_and_implied_labels() -> None:
    from PIL import Image

    from sigrl.service.drawing.sheets import Tile, draw_page
    from sigrl.service.schemas.tagging import Tag

    tag = Tag(label="cat", probability=0.3, score=0.0, threshold=0.5, accepted=False)
    picture = Image.new("RGB", (300, 225), "blue")
    heights = [
        np.asarray(draw_page([tile], "")).shape[0]
        for tile in (
            Tile("a", picture, (tag,)),
            Tile("a", picture, (tag,), implied=(tag, tag)),
            Tile("a", picture, guesses=(tag, tag, tag)),
        )
    ]
    one, implied, guessed = heights
    assert guessed - one == 3 * (implied - one) > 0
