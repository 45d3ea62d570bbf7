"""Bodies whose parsing would stop all other requests, or take much more memory than their bytes."""

import asyncio
import json

import pytest
import sample_images as samples
from fastapi.testclient import TestClient
from starlette.requests import Request
from starlette.types import Message

from sigrl.model.bounded_json import MAX_SEPARATORS
from sigrl.service.http.forms import read_form

ZEROS = "[" + "0," * MAX_SEPARATORS + "0]"
FIELDS = ",".join(f'"x{n}":0' for n in range(50_000))


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/tag", f'{{"images":{ZEROS}}}'),
        ("/v1/tag", f'{{"images":[{{"data":"aGk="}}],"labels":{ZEROS}}}'),
        ("/v1/tag", f"{{{FIELDS}}}"),
        ("/v1/tag", f'{{"images":[{{{FIELDS}}}]}}'),
        ("/v1/tag", '{"images":[' + "0," * 50_000 + "0]}"),
        ("/v1/tag", json.dumps({"images": [{"data": "aGk="}], "labels": ["a " * 1_000_000]})),
        ("/v1/tag", json.dumps({"images": [{"data": "data:," + "%41" * 1_000_000}]})),
        ("/v1/embeddings", f'{{"labels":{ZEROS}}}'),
        ("/v1/vocabularies/coco80/dry-run", ZEROS),
        ("/v1/checkpoints/load", json.dumps({"bundle": "a" * 100_000})),
    ],
)
def test_costly_json_is_rejected(client: TestClient, path: str, body: str) -> None:
    answer = client.post(path, content=body, headers={"content-type": "application/json"})
    assert answer.status_code in (413, 422)
    assert answer.json()["hint"]
    assert len(answer.content) < 1000


@pytest.mark.parametrize("labels", [ZEROS, "a," * (MAX_SEPARATORS + 1)])
def test_costly_labels_in_a_form_are_rejected(client: TestClient, labels: str) -> None:
    answer = client.post("/v1/tag", files={"image": samples.jpeg()}, data={"labels": labels})
    assert answer.status_code == 422
    assert answer.json()["type"] == "urn:sigrl:problem:invalid-labels"


@pytest.mark.parametrize("examples", [ZEROS, f"[{{{FIELDS}}}]"])
def test_costly_examples_are_rejected(client: TestClient, examples: str) -> None:
    client.put("/v1/vocabularies/pets", json=["cat", "dog"])
    files = {"image": samples.jpeg()}
    answer = client.post("/v1/vocabularies/pets/calibrate", files=files, data={"examples": examples})
    assert answer.status_code == 422
    assert answer.json()["type"] == "urn:sigrl:problem:invalid-examples"
    assert len(answer.content) < 1000


def test_large_form_without_files_is_rejected(client: TestClient) -> None:
    client.put("/v1/vocabularies/pets", json=["cat", "dog"])
    headers = {"content-type": "application/x-www-form-urlencoded"}
    answer = client.post("/v1/vocabularies/pets/calibrate", content=b"&" * 100_000, headers=headers)
    assert answer.status_code == 413


def test_form_parsing_yields_to_the_event_loop() -> None:
    part = b'--B\r\nContent-Disposition: form-data; name="labels"\r\n\r\na\r\n'
    body = part * 10_000 + b"--B--\r\n"

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    async def parse() -> tuple[int, int]:
        turns = 0

        async def count() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        counting = asyncio.create_task(count())
        headers = [(b"content-type", b"multipart/form-data; boundary=B")]
        request = Request({"type": "http", "method": "POST", "headers": headers}, receive)
        async with read_form(request, 1, 10_000, "") as form:
            counting.cancel()
            return len(form), turns

    fields, turns = asyncio.run(parse())
    assert fields == 10_000
    # One turn for each 16 KiB.
    assert turns > len(body) / 2**14 - 1
