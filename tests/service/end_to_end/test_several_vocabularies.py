"""Several vocabularies in one pass of the model."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sample_images as samples
from fake_engine import FakeEngine
from fastapi.testclient import TestClient

from sigrl.service.app import create_app
from sigrl.service.settings import Settings
from sigrl.service.tagging.tagger import Tagger

FILES = [("image", (f"{n}.jpg", samples.jpeg(48 + 8 * n))) for n in range(3)]


@pytest.fixture
def client(engine: FakeEngine) -> Iterator[TestClient]:
    engine.has_background = True
    with TestClient(create_app(Settings(), Tagger(engine=engine))) as client:
        client.put("/v1/vocabularies/warm", json=["red", {"name": "white", "threshold": 0.01}])
        client.put("/v1/vocabularies/cold", json=["blue", "green", "black"])
        yield client


def _tag(client: TestClient, headers: dict[str, str] | None = None, files: Any = FILES, **data: Any) -> Any:
    return client.post("/v1/tag", files=files, data=data, headers=headers)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"top_k": "2"},
        {"threshold": "0.1"},
        {"false_positive_rate": "0.3"},
        {"precision": "0.8"},
        {"recall": "0.8"},
    ],
)
def test_several_vocabularies_match_separate_requests(
    client: TestClient, engine: FakeEngine, options: dict[str, str]
) -> None:
    names = ["warm", "cold", "voc20"]
    alone = [_tag(client, vocabulary=name, **options).json() for name in names]
    before = sum(engine.batches)
    together = _tag(client, vocabulary=names, **options).json()
    assert sum(engine.batches) - before == len(FILES)
    assert together.keys() == {"checkpoint", "vocabularies", "warnings", "images"}
    assert together["vocabularies"] == [each["vocabulary"] for each in alone]
    for number, image in enumerate(together["images"]):
        assert (image["filename"], image["status"]) == (f"{number}.jpg", 200)
        assert [result["vocabulary"] for result in image["results"]] == names
        for result, each in zip(image["results"], alone, strict=True):
            for field in ("tags", "implied", "guesses"):
                assert result[field] == each["images"][number][field]


def test_ndjson_lines_match_the_json_response(client: TestClient) -> None:
    whole = _tag(client, vocabulary=["cold", "warm"]).json()
    answer = _tag(client, {"Accept": "application/x-ndjson"}, vocabulary=["cold", "warm"])
    lines = sorted(map(json.loads, answer.text.splitlines()), key=lambda line: line["index"])
    assert [line["image"] for line in lines] == whole["images"]
    assert all(line["vocabularies"] == whole["vocabularies"] for line in lines)


def test_damaged_image_gets_its_own_error(client: TestClient) -> None:
    files = [FILES[0], ("image", ("bad.jpg", b"\xff\xd8\xff"))]
    good, bad = _tag(client, files=files, vocabulary=["cold", "warm"]).json()["images"]
    assert (good["status"], bad["status"]) == (200, 422)
    assert "results" not in bad


def test_idempotency_key_covers_the_vocabularies(client: TestClient) -> None:
    key = {"Idempotency-Key": "a"}
    first = _tag(client, key, vocabulary=["cold", "warm"])
    assert _tag(client, key, vocabulary=["cold", "warm"]).content == first.content
    assert _tag(client, key, vocabulary=["warm", "cold"]).status_code == 422


@pytest.mark.parametrize(
    "data",
    [
        {"vocabulary": ["warm", "warm"]},
        {"vocabulary": [f"v{n}" for n in range(17)]},
        {"vocabulary": ["warm", "nobodys"]},
        {"vocabulary": ["warm", "cold"], "labels": "red"},
        {"false_positive_rate": "0"},
        {"false_positive_rate": "1"},
        {"false_positive_rate": "0.1", "threshold": "0.5"},
        {"false_positive_rate": "0.1", "precision": "0.5"},
        {"precision": "0.5", "recall": "0.5"},
        {"precision": "0"},
        {"recall": "1"},
        {"recall": "all"},
    ],
)
def test_invalid_vocabulary_combinations_are_rejected(client: TestClient, data: dict[str, Any]) -> None:
    answer = _tag(client, **data)
    assert answer.status_code == 422
    assert answer.json()["hint"]


def test_explain_and_embeddings_accept_one_vocabulary_only(client: TestClient) -> None:
    for path in ("/v1/explain", "/v1/embeddings"):
        answer = client.post(path, files=FILES[:1], data={"vocabulary": ["warm", "cold"]})
        assert answer.status_code == 422


def test_false_positive_rate_requires_a_background_set(client: TestClient, engine: FakeEngine) -> None:
    strict, lax = (
        _tag(client, labels="red,blue", false_positive_rate=rate).json()["images"][0]["tags"]
        for rate in ("0.001", "0.9")
    )
    assert [tag["label"] for tag in lax] == ["red", "blue"]
    assert min(tag["threshold"] for tag in strict or lax) >= max(tag["threshold"] for tag in lax)
    engine.has_background = False
    answer = _tag(client, labels="red", false_positive_rate="0.1")
    assert answer.status_code == 422
    assert "no background set" in answer.json()["detail"]


def test_command_line_accepts_several_vocabularies(
    sigrl: Any, photograph: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tagger = Tagger(engine=FakeEngine())
    monkeypatch.setattr(Tagger, "from_settings", lambda *_: tagger)
    for name, labels in (("warm", "red\nwhite\n"), ("cold", "blue\n")):
        (photograph.parent / f"{name}.txt").write_text(labels)
    both = [part for name in ("warm", "cold") for part in ("--vocabulary", photograph.parent / f"{name}.txt")]
    line = json.loads(sigrl("tag", photograph, *both, "--json")[1])
    tags = {each["vocabulary"]["name"]: [tag["label"] for tag in each["tags"]] for each in line["results"]}
    assert tags == {"warm": ["red"], "cold": ["blue"]}
    out = sigrl("tag", photograph, *both)[1]
    assert out.index("warm") < out.index("red") < out.index("cold") < out.index("blue")
