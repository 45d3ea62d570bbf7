import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import sample_images as samples
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from vocabulary_strategies import vocabularies

from sigrl.model.vocabulary import MAX_FILE_BYTES, MAX_LABELS, Vocabulary
from sigrl.service.app import create_app
from sigrl.service.settings import Settings
from sigrl.service.tagging.tagger import Tagger
from sigrl.service.vocabularies.builtin import BUILTIN, builtin

PHOTOGRAPH = ("image", ("photo.jpg", samples.jpeg(), "image/jpeg"))
PETS = "/v1/vocabularies/pets"


def _problem(response: Any, status: int, code: str) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = response.json()
    assert problem["type"] == f"urn:sigrl:problem:{code}"
    return problem


def test_register_get_change_and_delete_a_vocabulary(client: TestClient) -> None:
    created = client.put(PETS, json=["dog", "cat"])
    assert created.status_code == 201
    assert created.headers["location"] == PETS
    summary = created.json()
    assert (summary["name"], summary["version"], summary["size"], summary["built_in"]) == (
        "pets",
        1,
        2,
        False,
    )

    got = client.get(PETS)
    assert got.headers["etag"] == created.headers["etag"]
    assert got.headers["content-type"] == "application/json"
    assert got.json() == {**summary, "labels": [{"name": "dog"}, {"name": "cat"}]}

    changed = client.put(PETS, json={"labels": ["dog"]}, headers={"If-Match": got.headers["etag"]})
    assert changed.status_code == 200
    assert changed.json()["version"] == 2
    assert client.get(PETS, params={"version": 1}).json() == got.json()
    history = client.get(PETS + "/versions").json()
    assert [version["version"] for version in history["versions"]] == [2, 1]

    assert client.delete(PETS, headers={"If-Match": changed.headers["etag"]}).status_code == 204
    _problem(client.get(PETS), 404, "vocabulary-not-found")
    _problem(client.get(PETS + "/versions"), 404, "vocabulary-not-found")
    _problem(client.delete(PETS), 404, "vocabulary-not-found")


def test_document_from_get_can_be_put_unchanged(client: TestClient) -> None:
    labels = [
        {"name": "dog", "synonyms": ["hound"], "threshold": 0.4, "parent": "animal"},
        {"name": "animal"},
    ]
    client.put(PETS, json=labels)
    document = client.get(PETS).json()
    assert document["labels"] == labels
    same = client.put(PETS, json=document)
    assert (same.status_code, same.json()["version"]) == (200, 1)
    copy = client.put("/v1/vocabularies/copy", content=client.get("/v1/vocabularies/voc20").content)
    assert copy.status_code == 201
    assert copy.json()["hash"] == builtin("voc20").content_hash


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(vocabularies())
def test_any_vocabulary_round_trips_over_http(client: TestClient, vocabulary: Vocabulary) -> None:
    put = client.put("/v1/vocabularies/any", content=vocabulary.model_dump_json().encode())
    assert put.json()["hash"] == vocabulary.content_hash
    got = client.get("/v1/vocabularies/any")
    assert Vocabulary.from_json(got.text).labels == vocabulary.labels


def test_conflicting_change_is_rejected_with_412(client: TestClient) -> None:
    first = client.put(PETS, json=["dog"], headers={"If-None-Match": "*"}).headers["etag"]
    second = client.put(PETS, json=["cat"], headers={"If-Match": first}).headers["etag"]
    for headers in ({"If-Match": first}, {"If-None-Match": "*"}):
        problem = _problem(client.put(PETS, json=["cow"], headers=headers), 412, "precondition-failed")
        assert second in problem["detail"] + problem["hint"]
    _problem(client.delete(PETS, headers={"If-Match": first}), 412, "precondition-failed")
    missing = client.put("/v1/vocabularies/new", json=["dog"], headers={"If-Match": "*"})
    _problem(missing, 412, "precondition-failed")
    assert client.get(PETS).json()["labels"] == [{"name": "cat"}]


def test_only_one_of_concurrent_conditional_writers_succeeds(client: TestClient) -> None:
    etag = client.put(PETS, json=["dog"]).headers["etag"]

    def write(number: int) -> int:
        return client.put(PETS, json=[f"writer {number}"], headers={"If-Match": etag}).status_code

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(write, range(4))) == [200, 412, 412, 412]


def test_matching_etag_responds_304(client: TestClient) -> None:
    for name in ("voc20", "pets"):
        client.put(PETS, json=["dog"])
        etag = client.get(f"/v1/vocabularies/{name}").headers["etag"]
        again = client.get(f"/v1/vocabularies/{name}", headers={"If-None-Match": f"W/{etag}"})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", etag)


def test_vocabulary_list_is_paginated(client: TestClient) -> None:
    for name in ("b", "a"):
        client.put(f"/v1/vocabularies/{name}", json=["dog"])
    page = client.get("/v1/vocabularies", params={"limit": 2}).json()
    assert all("labels" not in vocabulary for vocabulary in page["vocabularies"])
    names = [vocabulary["name"] for vocabulary in page["vocabularies"]]
    assert names == list(BUILTIN[:2])
    while page["next"]:
        page = client.get(page["next"]).json()
        names += [vocabulary["name"] for vocabulary in page["vocabularies"]]
    assert names == [*BUILTIN, "a", "b"]

    for number in range(3):
        client.put(PETS, json=[f"label {number}"])
    newest = client.get(PETS + "/versions", params={"limit": 2}).json()
    rest = client.get(newest["next"]).json()
    assert [version["version"] for version in newest["versions"] + rest["versions"]] == [3, 2, 1]
    assert rest["next"] is None


def test_tagging_uses_the_newest_version_of_a_registered_vocabulary(client: TestClient) -> None:
    client.put("/v1/vocabularies/colours", json=["green", "blue"])
    for labels in (["green", "blue"], ["green", "red"]):
        client.put("/v1/vocabularies/colours", json=labels)
        answer = client.post("/v1/tag", files=[PHOTOGRAPH], data={"vocabulary": "colours"}).json()
        assert [tag["label"] for tag in answer["images"][0]["tags"]] == [labels[1]]
        known = client.get("/v1/vocabularies/colours").json()
        assert answer["vocabulary"] == {
            **{name: known[name] for name in ("name", "version", "hash", "size", "calibration")},
            "calibrated": False,
        }
    client.delete("/v1/vocabularies/colours")
    gone = client.post("/v1/tag", files=[PHOTOGRAPH], data={"vocabulary": "colours"})
    assert "colours" in _problem(gone, 422, "invalid-labels")["detail"]


def test_tagging_accepts_a_built_in_vocabulary_by_name(client: TestClient) -> None:
    response = client.post("/v1/tag", files=[PHOTOGRAPH], data={"vocabulary": "voc20", "threshold": "0"})
    assert len(response.json()["images"][0]["tags"]) == 20
    document = client.get("/v1/vocabularies/voc20").json()
    assert (document["built_in"], document["version"], document["created"]) == (True, None, None)
    assert document["labels"][0]["name"] == "aeroplane"
    assert document["labels"][0]["translations"]["de"] == "Flugzeug"
    assert response.json()["vocabulary"]["hash"] == document["hash"]


def test_vocabularies_persist_after_restart(tagger: Tagger) -> None:
    with TestClient(create_app(Settings(), tagger)) as client:
        client.put(PETS, json=["dog"])
        before = client.get(PETS)
    with TestClient(create_app(Settings(), tagger)) as client:
        after = client.get(PETS)
        assert (after.json(), after.headers["etag"]) == (before.json(), before.headers["etag"])


@pytest.mark.parametrize(
    ("body", "status", "code", "says"),
    [
        (b"", 422, "invalid-labels", "not valid JSON"),
        (b"[]", 422, "invalid-labels", "no label"),
        (b'"dog"', 422, "invalid-labels", "JSON object"),
        (b'["dog", "Dog"]', 422, "invalid-labels", "twice"),
        (b'{"labels": ["dog"], "lables": 1}', 422, "invalid-labels", "lables"),
        (b'[{"name": "dog", "parent": "animal"}]', 422, "invalid-labels", "'animal' of 'dog'"),
        (b"\xff\xfe", 422, "invalid-labels", "UTF-8"),
        (b"[" + b"0," * 100_000 + b"0]", 422, "invalid-labels", "100,001 labels"),
    ],
)
def test_invalid_vocabulary_is_rejected(
    client: TestClient, body: bytes, status: int, code: str, says: str
) -> None:
    problem = _problem(client.put(PETS, content=body), status, code)
    assert says in problem["detail"]
    assert "curl -T" in problem["hint"] or "UTF-8" in problem["hint"]
    assert client.get(PETS).status_code == 404


def test_invalid_names_etags_content_types_and_limits_are_rejected(client: TestClient) -> None:
    _problem(client.put("/v1/vocabularies/My%20Pets", json=["dog"]), 422, "invalid-parameter")
    _problem(client.put("/v1/vocabularies/voc20", json=["dog"]), 403, "read-only-vocabulary")
    _problem(client.delete("/v1/vocabularies/voc20"), 403, "read-only-vocabulary")
    _problem(client.put(PETS, json=["dog"], headers={"If-Match": "1-abc"}), 422, "invalid-parameter")
    _problem(client.put(PETS, data={"labels": "dog"}), 415, "unsupported-content-type")
    for query in ("?limit=0", "?limit=x", "?limit=1001"):
        problem = _problem(client.get("/v1/vocabularies" + query), 422, "invalid-parameter")
        assert "limit" in problem["detail"]
    _problem(client.get(PETS, params={"version": "first"}), 422, "invalid-parameter")
    _problem(client.get(PETS, params={"version": 10**30}), 422, "invalid-parameter")
    _problem(client.get("/v1/vocabularies", params={"after": "a\0"}), 422, "invalid-parameter")
    _problem(client.get("/v1/vocabularies/a%00"), 404, "vocabulary-not-found")


def test_vocabulary_of_maximum_size_is_accepted(tagger: Tagger) -> None:
    with TestClient(create_app(Settings(), tagger)) as client:
        names = [f"label {number}" for number in range(MAX_LABELS)]
        assert client.put(PETS, json=names).json()["size"] == MAX_LABELS
        assert [label["name"] for label in client.get(PETS).json()["labels"]] == names
        too_long = client.put(PETS, content=b" " * (MAX_FILE_BYTES + 1))
        assert "32 MiB" in _problem(too_long, 413, "request-too-large")["detail"]


def test_openapi_describes_labels_etags_and_errors(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    put = document["paths"]["/v1/vocabularies/{name}"]["put"]
    assert {"200", "201", "403", "412", "413", "415", "422", "503"} <= set(put["responses"])
    assert {parameter["name"] for parameter in put["parameters"]} == {"name", "If-Match", "If-None-Match"}
    assert "ETag" in put["responses"]["200"]["headers"]
    assert "#/components/schemas/Label" in json.dumps(put["requestBody"])
    assert "exclusive_group" in document["components"]["schemas"]["Label"]["properties"]
    ours = [methods for path, methods in document["paths"].items() if path.startswith("/v1/vocabularies")]
    assert len(ours) >= 3
    assert "HTTPValidationError" not in json.dumps(ours)
