from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sample_images as samples
from fastapi.testclient import TestClient

from sigrl import Tagger
from sigrl.service.app import create_app
from sigrl.service.settings import Settings

PHOTOGRAPH = ("image", ("photo.jpg", samples.jpeg(), "image/jpeg"))


@pytest.fixture(scope="module")
def tiny_tagger(tiny_bundle: Path) -> Tagger:
    return Tagger(tiny_bundle)


@pytest.fixture
def client(tiny_tagger: Tagger) -> Iterator[TestClient]:
    with TestClient(create_app(Settings(max_images=4), tiny_tagger), raise_server_exceptions=False) as client:
        yield client


def _vectors(answers: list[dict[str, Any]]) -> np.ndarray:
    return np.array([answer["embedding"] for answer in answers])


def test_images_and_labels_are_embedded_in_one_space(client: TestClient, tiny_tagger: Tagger) -> None:
    seen = client.post("/v1/embeddings", files=[PHOTOGRAPH])
    assert seen.status_code == 200, seen.text
    read = client.post("/v1/embeddings", json={"labels": ["cat", {"name": "dog", "synonyms": ["red dog"]}]})
    assert read.status_code == 200, read.text
    assert seen.json()["checkpoint"] == read.json()["checkpoint"] == tiny_tagger.engine.checkpoint_id
    assert [label["label"] for label in read.json()["labels"]] == ["cat", "dog"]
    images, labels = _vectors(seen.json()["images"]), _vectors(read.json()["labels"])
    assert (images.shape, labels.shape) == ((1, 32), (2, 32))
    for vectors in (images, labels):
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-4)


def test_each_image_gets_its_own_embedding_or_error(client: TestClient) -> None:
    other = ("image", ("green.png", samples.encode(samples.picture().rotate(90), "PNG"), "image/png"))
    together = client.post("/v1/embeddings", files=[PHOTOGRAPH, ("image", ("bad", b"bad")), other]).json()
    first, bad, last = together["images"]
    assert (first["status"], bad["status"], last["status"]) == (200, 415, 200)
    alone = client.post("/v1/embeddings", content=samples.jpeg()).json()["images"]
    np.testing.assert_allclose(_vectors([first]), _vectors(alone), atol=1e-4)
    assert np.abs(_vectors([first]) - _vectors([last])).max() > 1e-3


@pytest.mark.parametrize(
    "body", [b"", b"{}", b"\xff", b'{"labels": []}', b'["dog", "Dog"]', b'{"labels": [%s]}']
)
def test_invalid_labels_are_rejected(client: TestClient, body: bytes) -> None:
    if b"%s" in body:
        body %= b",".join(b'"label %d"' % number for number in range(1001))
    response = client.post("/v1/embeddings", content=body, headers={"content-type": "application/json"})
    assert response.status_code == 422
    assert response.json()["type"] == "urn:sigrl:problem:invalid-labels"


def test_images_and_labels_in_one_request_are_rejected(client: TestClient) -> None:
    response = client.post("/v1/embeddings", files=[PHOTOGRAPH], data={"labels": "dog"})
    assert response.json()["type"] == "urn:sigrl:problem:invalid-parameter"


def test_openapi_describes_both_request_bodies(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    content = document["paths"]["/v1/embeddings"]["post"]["requestBody"]["content"]
    assert {"application/json", "multipart/form-data", "image/*"} <= set(content)
    schemas = document["components"]["schemas"]
    assert content["application/json"]["schema"] == {"$ref": "#/components/schemas/LabelsToEmbed"}
    assert "/components/schemas/Label'" in str(schemas["LabelsToEmbed"])
    assert {"Label", "EmbeddingsAnswer"} <= set(schemas)
