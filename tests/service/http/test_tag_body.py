"""Photographs and parameters in one JSON object."""

import base64
from typing import Any

import pytest
import sample_images as samples
from fastapi.testclient import TestClient

DATA = base64.b64encode(samples.jpeg()).decode()


def _tag(client: TestClient, **body: Any) -> Any:
    return client.post("/v1/tag", json=body)


def test_json_body_gives_the_same_response_as_a_form(client: TestClient) -> None:
    files = [("image", ("a.jpg", samples.jpeg())), ("image", ("b.jpg", samples.jpeg()))]
    for parameters in (
        {},
        {"labels": ["red", "salt, pepper"]},
        {"vocabulary": ["voc20", "coco80"], "top_k": 2},
    ):
        form = dict(parameters)
        if "labels" in form:
            form["labels"] = '["red", "salt, pepper"]'
        expected = client.post("/v1/tag", files=files, data=form)
        images = [{"data": DATA, "filename": name} for name in ("a.jpg", "b.jpg")]
        answer = _tag(client, images=images, **parameters)
        assert answer.status_code == 200, answer.text
        assert answer.json() == expected.json()
    one = _tag(client, images=[{"data": DATA}], vocabulary="voc20", threshold=0.0).json()
    assert len(one["images"][0]["tags"]) == 20


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"images": []},
        {"images": [{}]},
        {"images": [{"data": "no base64!"}]},
        {"images": [{"data": DATA, "url": "http://example.com"}]},
        {"images": [{"data": DATA, "name": "a"}]},
        {"images": [{"data": DATA}], "label": ["red"]},
        {"images": [{"data": DATA}], "labels": "red"},
        {"images": [{"data": DATA}], "labels": ["red"], "vocabulary": "voc20"},
        {"images": [{"data": DATA}], "top_k": 0},
        {"images": [{"data": DATA}], "threshold": "high"},
        {"images": [{"data": DATA}] * 5},
        {"images": [{"data": base64.b64encode(b"no photograph").decode()}]},
    ],
)
def test_invalid_json_bodies_are_rejected(client: TestClient, body: dict[str, Any]) -> None:
    answer = client.post("/v1/tag", json=body)
    assert answer.status_code in (415, 422)
    assert answer.json()["hint"]
