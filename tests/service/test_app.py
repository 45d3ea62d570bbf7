import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import sample_images as samples
from fake_engine import FakeEngine
from fastapi.testclient import TestClient

from sigrl.service.app import create_app
from sigrl.service.settings import Settings
from sigrl.service.tagging.tagger import Tagger

PHOTOGRAPH = ("image", ("photo.jpg", samples.jpeg(), "image/jpeg"))


def _problem(response: Any, status: int, code: str) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = response.json()
    assert problem["type"] == f"urn:sigrl:problem:{code}"
    assert problem["status"] == status
    assert problem["title"]
    assert problem["detail"]
    assert problem["hint"]
    return problem


def _labels(response: Any) -> list[list[str]]:
    assert response.status_code == 200, response.text
    return [[tag["label"] for tag in image["tags"]] for image in response.json()["images"]]


def test_form_with_one_image_is_tagged(client: TestClient) -> None:
    response = client.post("/v1/tag", files=[PHOTOGRAPH], data={"labels": "red, green"})
    assert _labels(response) == [["red"]]
    answer = response.json()
    assert answer["checkpoint"] == "sha256:fake"
    assert answer["vocabulary"]["size"] == 2
    assert answer["images"][0]["filename"] == "photo.jpg"
    assert answer["images"][0]["status"] == 200
    assert set(answer["images"][0]["tags"][0]) == {"label", "probability", "score", "threshold", "accepted"}


@pytest.mark.parametrize("content_type", ["image/jpeg", "image/png", "application/octet-stream", None])
def test_raw_body_format_is_detected_from_its_content(client: TestClient, content_type: str | None) -> None:
    headers = {"content-type": content_type} if content_type else {}
    response = client.post(
        "/v1/tag",
        params={"labels": "red"},
        content=samples.encode(samples.picture(), "WEBP"),
        headers=headers,
    )
    assert _labels(response) == [["red"]]
    assert response.json()["images"][0]["filename"] is None


@pytest.mark.parametrize(
    "parameters",
    [{"labels": ["red", "green"]}, {"labels": ["red,green"]}, {"labels": ['["red", "green"]']}],
)
def test_labels_are_accepted_in_query_and_form(client: TestClient, parameters: dict[str, Any]) -> None:
    assert _labels(client.post("/v1/tag", files=[PHOTOGRAPH], data=parameters)) == [["red"]]
    assert _labels(client.post("/v1/tag", files=[PHOTOGRAPH], params=parameters)) == [["red"]]


def test_label_with_a_comma_is_accepted_as_json(client: TestClient) -> None:
    data = {"labels": '["salt, pepper"]', "top_k": "1"}
    assert _labels(client.post("/v1/tag", files=[PHOTOGRAPH], data=data)) == [["salt, pepper"]]


def test_http_selection_matches_python(client: TestClient, tagger: Tagger) -> None:
    for arguments in ({}, {"top_k": 3}, {"threshold": 0.2}, {"top_k": 1, "threshold": 0.99}):
        response = client.post("/v1/tag", files=[PHOTOGRAPH], params=arguments)
        expected = tagger.tag(samples.jpeg(), **arguments).model_dump(mode="json")
        assert response.json()["images"][0]["tags"] == expected["tags"]
        assert response.json()["vocabulary"] == expected["vocabulary"]


def test_several_images_keep_their_order_and_own_status(client: TestClient) -> None:
    files = [PHOTOGRAPH, ("image", ("bad.jpg", b"garbage")), PHOTOGRAPH]
    response = client.post("/v1/tag", files=files, data={"labels": "red"})
    assert response.status_code == 200
    first, bad, last = response.json()["images"]
    assert first == last
    assert (bad["filename"], bad["status"]) == ("bad.jpg", 415)
    assert bad["error"]["type"] == "urn:sigrl:problem:unsupported-image"
    assert bad["error"]["hint"]


@pytest.mark.parametrize(
    ("parameters", "code", "says"),
    [
        ({"lables": "dog"}, "invalid-parameter", "lables"),
        ({"top_k": "0"}, "invalid-parameter", "top_k"),
        ({"top_k": "many"}, "invalid-parameter", "top_k"),
        ({"top_k": ["1", "2"]}, "invalid-parameter", "2 times"),
        ({"threshold": "1.5"}, "invalid-parameter", "threshold"),
        ({"threshold": "nan"}, "invalid-parameter", "threshold"),
        ({"vocabulary": "/etc/passwd"}, "invalid-labels", "/etc/passwd"),
        ({"vocabulary": "voc20", "labels": "dog"}, "invalid-parameter", "both"),
    ],
)
def test_invalid_parameters_are_rejected(
    client: TestClient, parameters: dict[str, Any], code: str, says: str
) -> None:
    for where in ("data", "params"):
        problem = _problem(client.post("/v1/tag", files=[PHOTOGRAPH], **{where: parameters}), 422, code)
        assert says in problem["detail"]


def test_invalid_bodies_are_rejected_with_a_hint(client: TestClient) -> None:
    wrong_field = client.post("/v1/tag", files=[("file", ("photo.jpg", samples.jpeg()))])
    assert "`image`" in _problem(wrong_field, 422, "invalid-request")["hint"]

    no_photograph = client.post("/v1/tag", files=[("labels", (None, "dog"))])
    assert "curl -F image=@" in _problem(no_photograph, 422, "invalid-request")["hint"]

    forgotten_at = client.post("/v1/tag", files=[("image", (None, "photo.jpg"))])
    assert "@" in _problem(forgotten_at, 422, "invalid-request")["hint"]

    no_form = {"content-type": "multipart/form-data; boundary=x"}
    _problem(client.post("/v1/tag", content=b"nonsense", headers=no_form), 422, "invalid-request")
    _problem(
        client.post("/v1/tag", content=b"--", headers={"content-type": "multipart/form-data"}),
        422,
        "invalid-request",
    )

    curls_default = {"content-type": "application/x-www-form-urlencoded"}
    as_curl = client.post("/v1/tag", content=samples.jpeg(), headers=curls_default)
    assert "--data-binary" in _problem(as_curl, 415, "unsupported-content-type")["hint"]

    too_many = client.post("/v1/tag", files=[PHOTOGRAPH] * 5)
    assert "4" in _problem(too_many, 422, "invalid-request")["detail"]


def test_too_large_content_length_is_rejected(client: TestClient) -> None:
    response = client.post(
        "/v1/tag", content=b"x" * (2 * 1024 * 1024 + 1), headers={"content-type": "image/jpeg"}
    )
    assert "2 MiB" in _problem(response, 413, "request-too-large")["detail"]


@pytest.mark.parametrize("content_type", ["image/jpeg", "multipart/form-data; boundary=x"])
def test_too_large_streamed_body_is_rejected(client: TestClient, content_type: str) -> None:
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        yield b'--x\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
        while sent < 100_000_000:
            sent += 100_000
            yield b"x" * 100_000

    response = client.post("/v1/tag", content=endless(), headers={"content-type": content_type})
    _problem(response, 413, "request-too-large")


def test_unknown_paths_and_methods_return_problem_json(client: TestClient) -> None:
    for response, status in ((client.get("/v2/tag"), 404), (client.get("/v1/tag"), 405)):
        assert response.status_code == status
        assert response.headers["content-type"] == "application/problem+json"
        assert response.json()["hint"]


def test_health_and_readiness_before_and_after_startup(tagger: Tagger) -> None:
    client = TestClient(create_app(Settings(), tagger))
    assert client.get("/healthz").json() == {"status": "alive"}
    _problem(client.get("/readyz"), 503, "not-ready")
    _problem(client.post("/v1/tag", files=[PHOTOGRAPH]), 503, "not-ready")
    with client:
        ready = client.get("/readyz")
        assert ready.status_code == 200
        assert ready.json()["checkpoint"] == "sha256:fake"
        page = client.get("/")
        assert page.headers["content-type"].startswith("text/html")
        assert "default-src 'none'" in page.headers["content-security-policy"]
        again = client.get("/", headers={"If-None-Match": page.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        needed = re.findall(r'(?:href|src)="web/([^"]+)"', page.text)
        for part in needed:
            answer = client.get(f"/web/{part}")
            assert answer.status_code == 200
            needed += [each for each in re.findall(r'from "\./([^"]+)"', answer.text) if each not in needed]
        assert {"page.css", "page.js", "api.js", "picture.js"} <= set(needed)
        assert client.get("/web/secrets.txt").status_code == 404
        assert client.get("/docs").status_code == 200


def test_failing_model_prevents_startup(engine: FakeEngine) -> None:
    del engine.working
    with pytest.raises(AttributeError), TestClient(create_app(Settings(), Tagger(engine=engine))):
        pass


def test_unexpected_error_is_logged_but_not_shown_to_the_client(
    client: TestClient, engine: FakeEngine, caplog: pytest.LogCaptureFixture
) -> None:
    engine.score = None  # type: ignore[assignment, method-assign]
    response = client.post("/v1/tag", files=[PHOTOGRAPH], headers={"x-request-id": "my-request"})
    problem = _problem(response, 500, "internal-error")
    assert "my-request" in problem["hint"]
    assert "NoneType" not in response.text
    assert "NoneType" in caplog.text
    assert "my-request" in caplog.text
    assert client.get("/healthz").status_code == 200


@pytest.mark.parametrize(
    ("given", "taken"), [("job-7:a.b", True), ("", False), ("x" * 65, False), ("a b", False), ("a\tb", False)]
)
def test_valid_request_id_is_returned_and_others_replaced(
    client: TestClient, given: str, taken: bool
) -> None:
    returned = client.get("/healthz", headers={"x-request-id": given}).headers["x-request-id"]
    assert returned == given if taken else re.fullmatch(r"[0-9a-f]{32}", returned)


def _metric(client: TestClient, line: str) -> float:
    found = re.search(rf"^{re.escape(line)} (\S+)$", client.get("/metrics").text, re.MULTILINE)
    return float(found.group(1)) if found else 0.0


def test_requests_and_images_are_counted_in_metrics(client: TestClient) -> None:
    lines = [
        'sigrl_requests_total{route="/v1/tag",status="200"}',
        'sigrl_requests_total{route="unmatched",status="404"}',
        "sigrl_images_tagged_total",
        'sigrl_images_refused_total{reason="unsupported-image"}',
        "sigrl_decode_seconds_count",
        "sigrl_batch_size_sum",
        "sigrl_queue_seconds_count",
        "sigrl_label_cache_misses_total",
        "sigrl_label_cache_hits_total",
    ]
    before = [_metric(client, line) for line in lines]
    client.post("/v1/tag", files=[PHOTOGRAPH, PHOTOGRAPH, ("image", ("bad", b"bad"))], data={"labels": "red"})
    client.post("/v1/tag", files=[PHOTOGRAPH], data={"labels": "red"})
    client.get("/absent")
    after = [_metric(client, line) for line in lines]
    assert [b - a for a, b in zip(before, after, strict=True)] == [2, 1, 3, 1, 3, 3, 3, 1, 1]


def test_concurrent_requests_are_answered(engine: FakeEngine) -> None:
    engine.delay = 0.005
    with TestClient(create_app(Settings(threads=4), Tagger(engine=engine))) as client:

        def post(number: int) -> list[list[str]]:
            return _labels(client.post("/v1/tag", files=[PHOTOGRAPH], data={"labels": f"red,{number % 3}"}))

        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(post, range(24))) == [[["red"]]] * 24
    assert len(engine.encoded) == 4


def test_openapi_describes_bodies_and_errors(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    post = document["paths"]["/v1/tag"]["post"]
    assert {"multipart/form-data", "image/*"} <= set(post["requestBody"]["content"])
    assert {"413", "415", "422", "429", "503", "504"} <= set(post["responses"])
    assert list(post["responses"]["422"]["content"]) == ["application/problem+json"]
    assert {parameter["name"] for parameter in post["parameters"]} == {
        "labels",
        "vocabulary",
        "language",
        "top_k",
        "threshold",
        "false_positive_rate",
        "precision",
        "recall",
        "url",
        "checkpoint",
        "Idempotency-Key",
    }
    references = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(document)))
    assert references <= set(document["components"]["schemas"])
    assert "decreasing probability" in json.dumps(document["components"]["schemas"]["TaggedImage"]).lower()
