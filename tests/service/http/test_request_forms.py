"""Requests that are good though unusual, and faults that are not the service's own."""

import base64
import errno
import gzip
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import sample_images as samples
from fastapi.testclient import TestClient
from starlette.formparsers import MultiPartParser

JPEG = samples.jpeg()
BASE64 = base64.b64encode(JPEG).decode()


@pytest.mark.parametrize(
    "image",
    [
        {"data": f"data:image/jpeg;base64,{BASE64}"},
        {"data": f"DATA:;BASE64,{BASE64}"},
        {"url": f"data:image/jpeg;base64,{BASE64}"},
        {"data": "data:image/jpeg," + "".join(f"%{byte:02x}" for byte in JPEG)},
        {"data": base64.encodebytes(JPEG).decode()},
        {"data": base64.urlsafe_b64encode(JPEG).decode()},
        {"data": BASE64.rstrip("=")},
        {"data": BASE64.rstrip("=") + " =\n=="},
        {"data": "data:image/jpeg;base64," + quote(BASE64, safe="")},
    ],
)
def test_json_images_are_accepted_in_all_documented_forms(client: TestClient, image: dict[str, str]) -> None:
    answer = client.post("/v1/tag", json={"images": [image], "labels": ["red"]})
    assert answer.status_code == 200, answer.text
    assert [tag["label"] for tag in answer.json()["images"][0]["tags"]] == ["red"]


@pytest.mark.parametrize(
    "data",
    [
        "data:image/jpeg;base64,!",
        "data:image/jpeg;base64",
        "b\u00e4se64",
        "a",
        f"{BASE64[:400]}=={BASE64[400:]}",
    ],
)
def test_invalid_base64_is_rejected(client: TestClient, data: str) -> None:
    answer = client.post("/v1/tag", json={"images": [{"data": data}], "labels": ["red"]})
    assert answer.status_code in (415, 422)


@pytest.mark.parametrize("missing", [2, 6, 12, 60, len(JPEG) // 2])
@pytest.mark.parametrize("is_photograph_last", [False, True])
def test_a_form_that_was_cut_off_is_refused(
    client: TestClient, is_photograph_last: bool, missing: int
) -> None:
    labels = b'--B\r\nContent-Disposition: form-data; name="labels"\r\n\r\nred,blue\r\n'
    photograph = b'--B\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n' + JPEG + b"\r\n"
    parts = [photograph, labels, photograph] if is_photograph_last else [photograph, labels]
    whole = b"".join(parts) + b"--B--\r\n"
    headers = {"content-type": "multipart/form-data; boundary=B"}
    assert client.post("/v1/tag", content=whole, headers=headers).status_code == 200
    answer = client.post("/v1/tag", content=whole[: -2 - missing], headers=headers)
    assert answer.status_code == 422
    assert "cut off" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("path", "content_type"),
    [("/v1/tag", "image/jpeg"), ("/v1/tag", "application/json"), ("/v1/embeddings", "application/json")],
)
def test_a_compressed_body_is_refused_by_name(client: TestClient, path: str, content_type: str) -> None:
    headers = {"content-type": content_type, "content-encoding": "gzip"}
    answer = client.post(path, content=gzip.compress(bytes(1_000_000)), headers=headers)
    assert answer.status_code == 415
    assert "gzip" in answer.json()["detail"]
    assert "Content-Encoding" in answer.json()["hint"]
    headers = {"content-type": "image/jpeg", "content-encoding": "Identity"}
    assert client.post("/v1/tag?labels=red", content=JPEG, headers=headers).status_code == 200


@pytest.mark.parametrize(
    "query",
    ["labels=%c0%af", "labels=K%e4tzchen", "labels=red&top_k=1_0", "labels=red&threshold=0.1_0"],
)
def test_a_query_is_not_read_as_something_else(client: TestClient, query: str) -> None:
    headers = {"content-type": "image/jpeg"}
    answer = client.post(f"/v1/tag?{query}", content=JPEG, headers=headers)
    assert answer.status_code == 422
    assert answer.json()["type"] == "urn:sigrl:problem:invalid-parameter"


@pytest.mark.parametrize(
    ("extended", "name"),
    [
        ("UTF-8''caf%C3%A9%20%22a%22.jpg", 'caf\u00e9 "a".jpg'),
        ("UTF-8''%ff%00%0d%0aX.jpg", "\ufffd\ufffd\ufffd\ufffdX.jpg"),
        ("nonsense", "nonsense"),
    ],
)
def test_extended_filename_parameter_is_accepted(client: TestClient, extended: str, name: str) -> None:
    head = f'--B\r\nContent-Disposition: form-data; name="image"; filename*={extended}\r\n\r\n'
    headers = {"content-type": "multipart/form-data; boundary=B"}
    answer = client.post("/v1/tag", content=head.encode() + JPEG + b"\r\n--B--\r\n", headers=headers)
    assert answer.status_code == 200, answer.text
    assert answer.json()["images"][0]["filename"] == name


@pytest.mark.parametrize(
    ("method", "path", "body", "expected"),
    [
        ("POST", "/v1/tag", json.dumps({"images": [{"data": BASE64}]}), 200),
        ("PUT", "/v1/vocabularies/pets", '["dog"]', 201),
        ("POST", "/v1/embeddings", '{"labels": ["dog"]}', 200),
        ("POST", "/v1/checkpoints/load", '{"bundle": "nothing"}', 404),
    ],
)
def test_json_with_byte_order_mark_is_accepted(
    client: TestClient, method: str, path: str, body: str, expected: int
) -> None:
    content, headers = body.encode("utf-8-sig"), {"content-type": "application/json"}
    assert client.request(method, path, content=content, headers=headers).status_code == expected


@pytest.mark.parametrize("path", ["/", "/docs", "/healthz", "/web/page.js"])
def test_head_requests_are_answered_like_get(client: TestClient, path: str) -> None:
    if client.get(path).status_code == 404:
        pytest.skip("there is no such file")
    assert client.head(path).status_code == client.get(path).status_code == 200


@pytest.mark.parametrize("origin", ["http://[", "http://[::1]x", "http://ex\u2100mple", "", "\x00"])
def test_malformed_origin_header_is_rejected(client: TestClient, origin: str) -> None:
    headers = [(b"origin", origin.encode())]
    answer = client.post("/v1/tag", content=JPEG, headers=headers)
    assert answer.status_code == 403
    assert answer.json()["type"] == "urn:sigrl:problem:foreign-origin"


def _full(*_: Any, **__: Any) -> Any:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_uploaded_images_are_never_written_to_disk(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "TemporaryFile", _full)
    monkeypatch.setattr(tempfile.SpooledTemporaryFile, "rollover", _full)
    files = {"image": ("a.png", samples.encode(samples.picture(), "PNG") + b"\0" * 1_500_000)}
    assert client.post("/v1/tag", files=files, data={"labels": "red"}).status_code == 200


def test_full_disk_is_reported_with_a_hint(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    for broken in ("parse", "sigrl.service.http.routes.tag.read_tag_request"):
        with monkeypatch.context() as patched:
            patched.setattr(*((MultiPartParser, broken, _full) if broken == "parse" else (broken, _full)))
            answer = client.post("/v1/tag", files={"image": ("a.jpg", JPEG)})
        assert answer.status_code == 507
        assert answer.json()["type"] == "urn:sigrl:problem:storage-full"
        assert answer.json()["hint"]


def test_too_large_json_body_is_rejected(client: TestClient) -> None:
    content = b'{"bundle": "' + b"a" * (3 << 20) + b'"}'
    answer = client.post(
        "/v1/checkpoints/load", content=content, headers={"content-type": "application/json"}
    )
    assert answer.status_code == 413


def test_missing_home_folder_error_names_the_setting(
    sigrl: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch, photograph: Path
) -> None:
    for name in ("HOME", "XDG_DATA_HOME", "SIGRL_DATA"):
        monkeypatch.delenv(name, raising=False)

    def unknown(user: int) -> None:
        raise KeyError(user)

    monkeypatch.setattr("pwd.getpwuid", unknown)
    status, _, err = sigrl("tag", photograph, "--labels", "dog")
    assert status == 2
    assert "SIGRL_DATA" in err
