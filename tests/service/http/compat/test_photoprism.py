"""Requests as PhotoPrism sends them, and answers held against the types that it reads them into
(`internal/ai/vision/api_request.go`, `api_response.go` and `model.go`)."""

from base64 import b64encode
from typing import Any

import httpx
import jsonschema
import sample_images as samples
from PIL import Image

NAME, NUMBER = {"type": "string", "minLength": 1}, {"type": "number", "minimum": 0, "maximum": 1}
LABEL = {
    "type": "object",
    "required": ["name", "source"],
    "additionalProperties": False,
    "properties": {
        "name": NAME,
        "source": {"enum": ["image"]},
        "priority": {"type": "integer"},
        "confidence": NUMBER,
        "topicality": NUMBER,
        "categories": {"type": "array", "items": NAME},
        "nsfw": {"type": "boolean"},
        "nsfw_confidence": NUMBER,
    },
}
ANSWER = {
    "type": "object",
    "required": ["result"],
    "properties": {
        "id": {"type": "string"},
        "code": {"type": "integer"},
        "error": {"type": "string"},
        "model": {
            "type": "object",
            "properties": {"type": {"enum": ["labels"]}, "name": NAME, "version": NAME},
        },
        "result": {"type": "object", "properties": {"labels": {"type": "array", "items": LABEL}}},
    },
}
PATH = "/api/v1/vision/labels"


def _crop(colour: str) -> str:
    content = samples.encode(Image.new("RGB", (32, 32), colour), "JPEG", quality=95)
    return "data:image/jpeg;base64," + b64encode(content).decode()


def _ask(server: httpx.Client, *crops: str, path: str = PATH, **more: Any) -> httpx.Response:
    # Every field without `omitempty` is always sent.
    body = {"id": "3487da77", "model": "any", "suffix": "", "stream": False, "images": crops}
    return server.post(path, json={**body, **more})


def test_labels_of_several_crops_are_merged(server: httpx.Client) -> None:
    colours = ["red", {"name": "green", "parent": "colour"}, {"name": "blue"}, "colour"]
    assert server.put("/v1/vocabularies/colours", json=colours).status_code == 201
    answer = _ask(server, _crop("red"), _crop("lime"), _crop("red"), path=PATH + "?vocabulary=colours")
    assert answer.status_code == 200, answer.text
    jsonschema.validate(answer.json(), ANSWER)
    assert (answer.json()["id"], answer.json()["code"]) == ("3487da77", 200)
    assert answer.json()["model"]["name"] == "colours"
    labels = {each["name"]: each for each in answer.json()["result"]["labels"]}
    assert labels.keys() == {"red", "green", "colour"}
    green, red = labels["green"], labels["red"]
    assert (green["categories"], green["priority"]) == (["colour"], 1)
    assert (red["categories"], red["priority"]) == ([], 0)
    assert green["confidence"] > 0.9
    # In one of three crops, and in two of three.
    assert 0.3 < green["topicality"] < 0.4
    assert 0.6 < red["topicality"] < 0.7


def test_default_vocabulary_is_used_and_broken_crops_are_skipped(server: httpx.Client) -> None:
    broken = "data:image/jpeg;base64," + b64encode(b"broken").decode()
    answer = _ask(server, _crop("red"), broken)
    assert answer.status_code == 200, answer.text
    jsonschema.validate(answer.json(), ANSWER)
    alone = _ask(server, broken)
    assert (alone.status_code, alone.json()["code"]) == (415, 415)
    assert "format is not known" in alone.json()["error"]


def test_errors_use_the_photoprism_fields(server: httpx.Client) -> None:
    for answer in (_ask(server), _ask(server, _crop("red"), url=_crop("red")), server.post(PATH, json={})):
        assert answer.status_code == 422
        assert answer.json()["code"] == 422
        assert "images" in answer.json()["error"]
    unknown = _ask(server, _crop("red"), path=PATH + "?vocabulary=unknown")
    assert (unknown.status_code, unknown.json()["code"]) == (404, 404)
    assert server.post(PATH, headers={"Authorization": ""}, json={}).status_code == 401
