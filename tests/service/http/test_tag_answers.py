"""How POST /v1/tag answers: at once or line by line, again under an Idempotency-Key, or not now."""

import json
import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import sample_images as samples
from fake_engine import FakeEngine, FakeFeatures
from fastapi.testclient import TestClient

from sigrl.service.app import create_app
from sigrl.service.settings import Settings
from sigrl.service.tagging.tagger import Tagger

PHOTOGRAPH = ("image", ("photo.jpg", samples.jpeg(), "image/jpeg"))
GARBAGE = ("image", ("bad.jpg", b"garbage", "image/jpeg"))
NDJSON = {"Accept": "application/x-ndjson"}


@pytest.fixture
def gate(engine: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[threading.Event, Any]]:
    """(opens the model that stands still, tells that something is in it); the model is open at first."""
    opened, entered = threading.Event(), threading.Event()
    opened.set()
    encode = engine.encode_images

    def encode_images(pixel_values: np.ndarray) -> FakeFeatures:
        entered.set()
        assert opened.wait(60)
        return encode(pixel_values)

    monkeypatch.setattr(engine, "encode_images", encode_images)
    yield opened, entered
    opened.set()


def _lines(text: str) -> list[dict[str, Any]]:
    assert text.endswith("\n")
    return [json.loads(line) for line in text.splitlines()]


def test_ndjson_lines_match_the_json_response(client: TestClient) -> None:
    files, data = [PHOTOGRAPH, GARBAGE, PHOTOGRAPH], {"labels": "red,green", "top_k": "2"}
    whole = client.post("/v1/tag", files=files, data=data).json()
    for accept in ("application/x-ndjson", "text/html, Application/X-NDJSON;q=0.9"):
        response = client.post("/v1/tag", files=files, data=data, headers={"Accept": accept})
        assert response.status_code == 200
        assert response.headers["content-type"] == "application/x-ndjson"
        lines = sorted(_lines(response.text), key=lambda line: line["index"])
        assert [line["index"] for line in lines] == [0, 1, 2]
        assert [line["image"] for line in lines] == whole["images"]
        assert {line["checkpoint"] for line in lines} == {whole["checkpoint"]}
        assert all(line["vocabulary"] == whole["vocabulary"] for line in lines)


def test_ndjson_line_is_sent_when_its_image_is_finished(
    client: TestClient, gate: tuple[threading.Event, Any]
) -> None:
    # What is refused by its header needs no model, and its line does not wait for the others'.
    opened, _ = gate
    opened.clear()
    threading.Timer(0.05, opened.set).start()
    response = client.post("/v1/tag", files=[PHOTOGRAPH, GARBAGE], headers=NDJSON)
    assert [line["index"] for line in _lines(response.text)] == [1, 0]


def test_error_before_the_first_ndjson_line_sets_the_status(client: TestClient, engine: FakeEngine) -> None:
    response = client.post("/v1/tag", files=[PHOTOGRAPH], params={"top_k": "0"}, headers=NDJSON)
    assert (response.status_code, response.json()["status"]) == (422, 422)
    engine.encode_labels = None  # type: ignore[assignment, method-assign]
    response = client.post("/v1/tag", files=[PHOTOGRAPH], params={"labels": "new"}, headers=NDJSON)
    assert response.status_code == 500
    assert response.headers["content-type"] == "application/problem+json"


def test_internal_error_is_per_image_or_500_if_no_image_was_tagged(
    client: TestClient, engine: FakeEngine, caplog: pytest.LogCaptureFixture
) -> None:
    engine.score = None  # type: ignore[assignment, method-assign]
    headers = {"x-request-id": "request-7"}
    response = client.post("/v1/tag", files=[PHOTOGRAPH, GARBAGE, PHOTOGRAPH], headers=headers)
    assert response.status_code == 500
    assert response.json()["type"] == "urn:sigrl:problem:internal-error"
    response = client.post("/v1/tag", files=[PHOTOGRAPH, GARBAGE], headers={**headers, **NDJSON})
    first, second = sorted(_lines(response.text), key=lambda line: line["index"])
    assert (first["image"]["status"], second["image"]["status"]) == (500, 415)
    assert "request-7" in first["image"]["error"]["hint"]
    assert "NoneType" not in response.text
    assert "NoneType" in caplog.text


def test_invalid_images_each_get_their_own_error(client: TestClient) -> None:
    response = client.post("/v1/tag", files=[GARBAGE, GARBAGE])
    assert response.status_code == 200
    assert [image["status"] for image in response.json()["images"]] == [415, 415]


def test_server_timing_header_lists_the_processing_steps(client: TestClient) -> None:
    timing = client.post("/v1/tag", files=[PHOTOGRAPH, PHOTOGRAPH, GARBAGE]).headers["server-timing"]
    found = re.findall(r"(\w+);dur=([\d.]+)", timing)
    assert [name for name, _ in found] == ["decode", "queue", "model", "score"]
    assert all(0 < float(value) < 60_000 for _, value in found)


@pytest.mark.parametrize("accept", ["application/json", "application/x-ndjson"])
def test_repeated_request_does_not_run_the_model_again(
    client: TestClient, engine: FakeEngine, accept: str
) -> None:
    def post(key: str, labels: str = "red", filename: str = "a.jpg") -> Any:
        files = [("image", (filename, samples.jpeg())), GARBAGE]
        headers = {"Idempotency-Key": key, "Accept": accept}
        return client.post("/v1/tag", files=files, data={"labels": labels}, headers=headers)

    first = post("key-1")
    batches = len(engine.batches)
    again = post("key-1")
    assert (again.status_code, again.content) == (200, first.content)
    assert again.headers["content-type"] == first.headers["content-type"]
    assert len(engine.batches) == batches
    for other in (post("key-1", labels="blue"), post("key-1", filename="b.jpg")):
        assert other.status_code == 422
        assert other.json()["type"] == "urn:sigrl:problem:invalid-idempotency-key"
    assert post("key-2").status_code == 200
    assert len(engine.batches) == batches + 1
    assert post("").status_code == 422


def test_replayed_response_is_marked_and_failures_are_retried(client: TestClient, engine: FakeEngine) -> None:
    headers = {"Idempotency-Key": "key"}
    score, engine.score = engine.score, None  # type: ignore[assignment, method-assign]
    assert client.post("/v1/tag", files=[PHOTOGRAPH], headers=headers).status_code == 500
    engine.score = score  # type: ignore[method-assign]
    second = client.post("/v1/tag", files=[PHOTOGRAPH], headers=headers)
    assert second.status_code == 200
    assert "idempotent-replayed" not in second.headers
    third = client.post("/v1/tag", files=[PHOTOGRAPH], headers=headers)
    assert third.headers["idempotent-replayed"] == "true"
    assert "server-timing" not in third.headers


def test_full_queue_responds_429_with_retry_after(
    engine: FakeEngine, gate: tuple[threading.Event, threading.Event]
) -> None:
    opened, entered = gate
    app = create_app(Settings(queue_images=2), Tagger(engine=engine))
    with TestClient(app) as client, ThreadPoolExecutor(1) as pool:
        opened.clear()
        entered.clear()
        waiting = pool.submit(client.post, "/v1/tag", files=[PHOTOGRAPH, PHOTOGRAPH])
        assert entered.wait(60)
        for headers in ({}, NDJSON):
            refused = client.post("/v1/tag", files=[PHOTOGRAPH], headers=headers)
            assert refused.status_code == 429
            assert refused.json()["type"] == "urn:sigrl:problem:overloaded"
            assert int(refused.headers["retry-after"]) >= 1
        opened.set()
        assert waiting.result().status_code == 200
        assert client.post("/v1/tag", files=[PHOTOGRAPH]).status_code == 200
        too_many = client.post("/v1/tag", files=[PHOTOGRAPH] * 3)
        assert (too_many.status_code, too_many.json()["status"]) == (413, 413)


def test_request_timeout_responds_504(engine: FakeEngine, gate: tuple[threading.Event, Any]) -> None:
    opened, _ = gate
    with TestClient(create_app(Settings(request_seconds=0.05), Tagger(engine=engine))) as client:
        opened.clear()
        late = client.post("/v1/tag", files=[PHOTOGRAPH])
        assert (late.status_code, late.json()["status"]) == (504, 504)
        assert client.get("/healthz").status_code == 200
        opened.set()
