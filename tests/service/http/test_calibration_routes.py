"""Vocabularies that are calibrated while the service answers."""

import json
from collections.abc import Iterator, Sequence
from io import BytesIO
from typing import Any

import pytest
from fake_engine import FakeEngine
from fastapi.testclient import TestClient
from PIL import Image

from sigrl.service.app import create_app
from sigrl.service.settings import Settings
from sigrl.service.tagging.tagger import Tagger

COLOURS = "/v1/vocabularies/colours"


def _photograph(red: int) -> tuple[str, tuple[str, bytes]]:
    """The darker, the farther from red."""
    content = BytesIO()
    Image.new("RGB", (40, 40), (red, 0, 0)).save(content, "PNG")
    return "image", (f"{red}.png", content.getvalue())


def _calibrate(
    client: TestClient, shown: dict[int, dict[str, Any]], path: str = COLOURS, **fields: Any
) -> Any:
    return client.post(
        f"{path}/calibrate",
        files=[_photograph(red) for red in shown],
        data={"examples": json.dumps(list(shown.values())), **fields},
    )


def _tags(client: TestClient, red: int) -> tuple[list[str], dict[str, Any]]:
    answer = client.post("/v1/tag", files=[_photograph(red)], data={"vocabulary": "colours"}).json()
    return [tag["label"] for tag in answer["images"][0]["tags"] if tag["accepted"]], answer["vocabulary"]


def _problem(response: Any, status: int, code: str) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.json()["type"] == f"urn:sigrl:problem:{code}"
    problem: dict[str, Any] = response.json()
    return problem


# By itself the engine calls everything above 153 of 255 red. Its owner wants more of it.
STRICT = {red: {"positive": ["red"] if red > 220 else [], "negative": "others"} for red in range(120, 256, 4)}


@pytest.fixture
def client(engine: FakeEngine) -> Iterator[TestClient]:
    engine.has_background = True
    with TestClient(create_app(Settings(), Tagger(engine=engine))) as client:
        client.put(COLOURS, json=["red", "green", "blue"])
        yield client


def test_examples_change_thresholds_and_tags(client: TestClient) -> None:
    assert _tags(client, 190) == (["red"], {**_tags(client, 190)[1], "calibration": None})
    report = _calibrate(client, STRICT).json()
    assert (report["examples"], report["goal"]) == (len(STRICT), {"kind": "f1", "value": None})
    red, green, blue = report["labels"]
    assert (red["positives"], red["negatives"]) == (8, 26)
    assert (green["positives"], blue["negatives"]) == (0, len(STRICT))
    accepted, vocabulary = _tags(client, 190)
    assert (accepted, vocabulary["calibration"], vocabulary["version"]) == ([], 1, 1)
    assert _tags(client, 255)[0] == ["red"]
    assert client.get(f"{COLOURS}/calibration").json() == {**report, "gain": None}
    assert client.get(COLOURS).json()["calibration"] == 1

    assert client.delete(f"{COLOURS}/calibration").status_code == 204
    accepted, vocabulary = _tags(client, 190)
    assert (accepted, vocabulary["calibration"]) == (["red"], None)
    _problem(client.get(f"{COLOURS}/calibration"), 404, "calibration-not-found")


def test_examples_accumulate_and_newer_marks_replace_older(client: TestClient) -> None:
    _calibrate(client, {250: {"positive": ["red"]}, 150: {"negative": ["red", "blue"]}})
    second = _calibrate(client, {150: {"positive": ["RED"]}, 100: {"negative": ["red"]}}).json()
    assert (second["examples"], second["vocabulary"]["calibration"]) == (3, 2)
    counts = {label["label"]: (label["positives"], label["negatives"]) for label in second["labels"]}
    assert counts == {"red": (2, 1), "green": (0, 0), "blue": (0, 1)}
    third = _calibrate(client, {90: {"negative": ["red"]}}, replace="true").json()
    assert third["examples"] == 1
    # A number is never given twice.
    client.delete(f"{COLOURS}/calibration")
    assert _calibrate(client, {90: {"negative": ["red"]}}).json()["vocabulary"]["calibration"] == 4


@pytest.mark.parametrize(
    "goal",
    [
        {},
        {"goal": "precision", "value": "0.5"},
        {"goal": "recall", "value": "0.9"},
        {"goal": "false-positive-rate", "value": "0.5"},
    ],
)
def test_marking_a_tag_wrong_does_not_make_it_accepted(
    client: TestClient, engine: FakeEngine, goal: dict[str, str]
) -> None:
    # "red" has 17 % on this photograph.
    engine.default_threshold = 0.18
    assert "red" not in _tags(client, 113)[0]
    report = _calibrate(client, {113: {"positive": ["green"], "negative": ["red"]}}, **goal).json()
    assert "red" not in _tags(client, 113)[0]
    assert [label["overruled"] for label in report["labels"]] == [0, 0, 0]


def test_report_counts_contradicting_examples(client: TestClient) -> None:
    contradicting = {250: {"negative": ["red"]}, 200: {"positive": ["red"]}, 20: {"negative": ["red"]}}
    red, green, _ = _calibrate(client, contradicting).json()["labels"]
    assert (red["overruled"], green["overruled"]) == (1, 0)
    assert "red" not in _tags(client, 20)[0]


def test_precision_can_be_the_calibration_goal(client: TestClient) -> None:
    # One in two of what looks red is called red.
    mixed = {
        red: {"positive": ["red"] if red % 8 == 0 or red > 230 else [], "negative": "others"}
        for red in range(100, 256, 4)
    }
    strict = _calibrate(client, mixed, goal="precision", value="0.95").json()
    lax = _calibrate(client, {}, goal="precision", value="0.5").json()
    assert lax["examples"] == strict["examples"]
    assert lax["labels"][0]["threshold"] < strict["labels"][0]["threshold"]


def test_false_positive_rate_goal_needs_a_background_set_not_examples(
    client: TestClient, engine: FakeEngine
) -> None:
    report = _calibrate(client, {}, goal="false-positive-rate", value="0.01").json()
    assert report["examples"] == 0
    assert report["labels"][0]["threshold"] != report["labels"][0]["threshold_before"]
    client.delete(f"{COLOURS}/calibration")
    without = FakeEngine(checkpoint_id="sha256:without")
    with TestClient(create_app(Settings(), Tagger(engine=without))) as other:
        refused = _calibrate(other, {}, goal="false-positive-rate", value="0.01")
        assert "no background set" in _problem(refused, 422, "invalid-examples")["detail"]
        assert _tags(other, 255)[0] == ["red"]
    _calibrate(client, {}, goal="false-positive-rate", value="0.01")
    engine.has_background = False
    engine.checkpoint_id = "sha256:other"
    told = _problem(client.get(f"{COLOURS}/calibration"), 422, "invalid-examples")
    assert "no background set" in told["detail"]


def test_new_vocabulary_version_keeps_the_examples_of_its_labels(client: TestClient) -> None:
    _calibrate(client, STRICT)
    client.put(COLOURS, json=["black", "red"])
    accepted, vocabulary = _tags(client, 190)
    assert (accepted, vocabulary["calibration"], vocabulary["version"]) == ([], 1, 2)
    client.delete(COLOURS)
    client.put(COLOURS, json=["red"])
    assert _tags(client, 190)[1]["calibration"] is None


def test_restart_recalibrates_without_encoding_images_again(client: TestClient, engine: FakeEngine) -> None:
    _calibrate(client, STRICT)
    expected = _tags(client, 190)
    again = FakeEngine(has_background=True)
    with TestClient(create_app(Settings(), Tagger(engine=again))) as restarted:
        seen = len(again.batches)
        assert _tags(restarted, 190) == expected
        assert sum(again.batches[seen:]) == 1
    assert sum(engine.batches) > len(STRICT)


def test_another_checkpoint_encodes_the_example_images_once(client: TestClient) -> None:
    _calibrate(client, STRICT)
    other = FakeEngine(checkpoint_id="sha256:other", has_background=True)
    tagger = Tagger(engine=other)
    with TestClient(create_app(Settings(), tagger)) as restarted:
        seen = sum(other.batches)
        assert _tags(restarted, 190)[0] == []
        assert sum(other.batches) == seen + len(STRICT) + 1
        assert _tags(restarted, 190)[0] == []
        assert sum(other.batches) == seen + len(STRICT) + 2


@pytest.mark.parametrize(
    ("examples", "fields", "code"),
    [
        ({200: {"positive": ["purple"]}}, {}, "invalid-examples"),
        ({200: {"positive": ["red"], "negative": ["red"]}}, {}, "invalid-examples"),
        ({200: {"positive": "red"}}, {}, "invalid-examples"),
        ({200: {"right": ["red"]}}, {}, "invalid-examples"),
        ({200: {}}, {"examples": "[]"}, "invalid-examples"),
        ({200: {}}, {"examples": "no JSON"}, "invalid-examples"),
        ({}, {}, "invalid-examples"),
        ({}, {"goal": "accuracy"}, "invalid-parameter"),
        ({}, {"goal": "precision"}, "invalid-parameter"),
        ({}, {"goal": "f1", "value": "0.5"}, "invalid-parameter"),
        ({}, {"goal": "precision", "value": "1.5"}, "invalid-parameter"),
        ({}, {"replace": "perhaps"}, "invalid-parameter"),
        ({}, {"threshold": "0.5"}, "invalid-parameter"),
    ],
)
def test_invalid_examples_are_rejected_and_change_nothing(
    client: TestClient, examples: dict[int, dict[str, Any]], fields: dict[str, str], code: str
) -> None:
    told = _problem(_calibrate(client, examples, **fields), 422, code)
    assert told["hint"]
    assert client.get(COLOURS).json()["calibration"] is None


def test_request_with_a_damaged_image_stores_nothing(client: TestClient, engine: FakeEngine) -> None:
    seen = sum(engine.batches)
    files = [_photograph(200), ("image", ("broken.png", b"\x89PNG..."))]
    data = {"examples": json.dumps([{"positive": ["red"]}] * 2)}
    told = _problem(client.post(f"{COLOURS}/calibrate", files=files, data=data), 422, "invalid-examples")
    assert "broken.png" in told["detail"]
    assert client.get(COLOURS).json()["calibration"] is None
    assert sum(engine.batches) == seen


def test_only_registered_vocabularies_can_be_calibrated(client: TestClient) -> None:
    shown = {200: {"positive": ["dog"]}}
    told = _problem(_calibrate(client, shown, "/v1/vocabularies/coco80"), 403, "read-only-vocabulary")
    assert "copy" in told["hint"]
    _problem(_calibrate(client, shown, "/v1/vocabularies/nobodys"), 404, "vocabulary-not-found")


def test_number_of_examples_is_limited(engine: FakeEngine) -> None:
    with TestClient(create_app(Settings(calibration_examples=2), Tagger(engine=engine))) as client:
        client.put(COLOURS, json=["red"])
        shown = {red: {"positive": ["red"]} for red in (200, 210, 220)}
        assert "at most 2" in _problem(_calibrate(client, shown), 422, "invalid-examples")["detail"]


def test_hygiene_report_lists_labels_with_problems(client: TestClient) -> None:
    client.put(COLOURS, json=["red", "something", "something else"])
    report = client.get(f"{COLOURS}/hygiene").json()
    assert (report["photographs"], report["never"], report["always"]) == (
        5,
        ["something", "something else"],
        [],
    )
    pairs: Sequence[dict[str, Any]] = report["near_duplicates"]
    assert [(pair["first"], pair["second"]) for pair in pairs] == [("something", "something else")]
    assert client.get("/v1/vocabularies/coco80/hygiene").json()["vocabulary"]["name"] == "coco80"
    _problem(client.get("/v1/vocabularies/nobodys/hygiene"), 404, "vocabulary-not-found")
