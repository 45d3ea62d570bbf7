"""CVAT's automatic annotation: what it asks of nuclio, and its export as examples."""

import json
from base64 import b64encode
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest
import sample_images as samples
from PIL import Image

from sigrl.model.labelled_files import LabelledFileError, read_label_file

# What `LambdaFunction` reads, and what `LambdaJob._call_detector` makes annotations of.
FUNCTION = {
    "type": "object",
    "required": ["metadata", "spec", "status"],
    "properties": {
        "metadata": {
            "type": "object",
            "required": ["name", "annotations"],
            "properties": {
                "annotations": {
                    "type": "object",
                    "required": ["type", "spec"],
                    "properties": {"type": {"enum": ["detector"]}, "spec": {"type": "string"}},
                }
            },
        },
        "spec": {"type": "object", "required": ["description"]},
        "status": {"type": "object"},
    },
}
TAGS = {
    "type": "array",
    "items": {
        "type": "object",
        "required": ["label", "type"],
        "properties": {
            "label": {"type": "string"},
            "type": {"enum": ["tag"]},
            "confidence": {"type": "string", "pattern": r"^[01]\.\d+$"},
            "attributes": {"type": "array", "maxItems": 0},
        },
    },
}
EXPORT = """<?xml version="1.0" encoding="utf-8"?>
<annotations>
  <version>1.1</version>
  <meta><task><labels>
    <label><name>red</name><type>tag</type></label>
    <label><name>green</name><type>tag</type></label>
  </labels></task></meta>
  <image id="0" name="a.jpg" width="32" height="32"><tag label="red" source="manual"></tag></image>
  <image id="1" name="b.jpg" width="32" height="32"><tag label="green" source="auto"></tag></image>
  <image id="2" name="c.jpg" width="32" height="32"></image>
</annotations>
"""


def _file(colour: str) -> bytes:
    return samples.encode(Image.new("RGB", (32, 32), colour), "JPEG", quality=95)


def _invoke(server: httpx.Client, name: str, **body: Any) -> httpx.Response:
    headers = {"x-nuclio-function-name": name, "x-nuclio-path": "/"}
    image = b64encode(samples.jpeg()).decode()
    return server.post("/api/function_invocations", headers=headers, json={"image": image, **body})


def test_vocabularies_are_listed_as_cvat_functions(server: httpx.Client) -> None:
    server.put("/v1/vocabularies/colours", json=["red", "green", "blue"]).raise_for_status()
    functions = server.get("/api/functions").json()
    assert {"colours", "coco80"} <= functions.keys()
    for function in functions.values():
        jsonschema.validate(function, FUNCTION)
    assert server.get("/api/functions/colours").json() == functions["colours"]
    labels = json.loads(functions["colours"]["metadata"]["annotations"]["spec"])
    assert [(label["name"], label["type"]) for label in labels] == [
        ("red", "tag"),
        ("green", "tag"),
        ("blue", "tag"),
    ]
    assert server.get("/api/functions/unknown").status_code == 404


def test_invoking_a_function_returns_tags(server: httpx.Client) -> None:
    server.put("/v1/vocabularies/colours", json=["red", "green", "blue"]).raise_for_status()
    answer = _invoke(server, "colours")
    assert answer.status_code == 200, answer.text
    jsonschema.validate(answer.json(), TAGS)
    assert {tag["label"] for tag in answer.json()} == {"red", "blue"}
    assert len(_invoke(server, "colours", threshold=0).json()) == 3
    assert _invoke(server, "unknown").status_code == 404
    assert _invoke(server, "colours", image="AAAA").status_code == 415


def test_api_key_in_the_url_is_accepted(server: httpx.Client, key: str) -> None:
    """CVAT_NUCLIO_HOST may have user and password before the host."""
    host = str(server.base_url).partition("//")[2]
    assert httpx.get(f"http://cvat:{key}@{host}/api/functions").status_code == 200
    assert httpx.get(f"http://cvat:wrong@{host}/api/functions").status_code == 401


def test_cvat_export_can_be_used_for_calibration(
    server: httpx.Client, key: str, sigrl: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.put("/v1/vocabularies/colours", json=["red", "green", "blue"]).raise_for_status()
    (tmp_path / "annotations.xml").write_text(EXPORT)
    for name, colour in (("a", "red"), ("b", "lime")):
        (tmp_path / f"{name}.jpg").write_bytes(_file(colour))
    monkeypatch.setenv("SIGRL_API_KEY", key)
    arguments = ("vocab", "calibrate", "colours", tmp_path / "annotations.xml", "--server", server.base_url)
    status, _, err = sigrl(*arguments)
    assert status == 0, err
    labels = server.get("/v1/vocabularies/colours/calibration").json()["labels"]
    marks = {each["label"]: (each["positives"], each["negatives"]) for each in labels}
    assert marks == {"red": (1, 1), "green": (1, 1), "blue": (0, 0)}


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("<annotations>", "is not XML"),
        ("<annotations><meta/></annotations>", "CVAT for images 1.1"),
        ("<!DOCTYPE a><annotations/>", "document type"),
        (EXPORT.replace("<tag", "<box").replace("</tag", "</box"), "names no photograph"),
    ],
)
def test_invalid_cvat_export_is_reported(tmp_path: Path, content: str, told: str) -> None:
    path = tmp_path / "annotations.xml"
    path.write_text(content)
    with pytest.raises(LabelledFileError, match=told):
        read_label_file(path)
