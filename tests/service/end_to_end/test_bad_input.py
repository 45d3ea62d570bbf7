"""What users really send: each gives a right result or a clear error, in Python, on the command line and over
HTTP alike, and the next photograph is tagged as if nothing had happened."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import sample_images as samples
from fastapi.testclient import TestClient
from PIL import Image

from sigrl.model.vocabulary import MAX_LABELS
from sigrl.service import cli
from sigrl.service.commands.tag import SOME_FAILED
from sigrl.service.errors import TaggerError
from sigrl.service.tagging.tagger import Tagger

Ask = Callable[[bytes, Sequence[str]], tuple[set[str], str]]
"""Photograph and labels to (accepted labels, "") or (nothing, error)."""


def _ask_python(tagger: Tagger) -> Ask:
    def ask(data: bytes, labels: Sequence[str]) -> tuple[set[str], str]:
        try:
            return set(tagger.tag(data, labels).labels), ""
        except TaggerError as error:
            return set(), f"{error.detail}; {error.hint}"

    return ask


def _ask_http(client: TestClient) -> Ask:
    def ask(data: bytes, labels: Sequence[str]) -> tuple[set[str], str]:
        files = [("image", ("photo", data))]
        response = client.post("/v1/tag", files=files, data={"labels": json.dumps(list(labels))})
        answer = response.json()
        if response.status_code == 200:
            (image,) = answer["images"]
            return {tag["label"] for tag in image["tags"]}, ""
        assert 400 <= response.status_code < 500
        assert response.headers["content-type"] == "application/problem+json"
        return set(), f"{answer['detail']}; {answer['hint']}"

    return ask


def _ask_command_line(sigrl: Callable[..., tuple[int, str, str]], photograph: Path) -> Ask:
    def ask(data: bytes, labels: Sequence[str]) -> tuple[set[str], str]:
        photograph.write_bytes(data)
        status, out, err = sigrl("tag", photograph, "--json", "--labels", json.dumps(list(labels)))
        if status == 0:
            assert err == ""
            return {tag["label"] for tag in json.loads(out)["tags"]}, ""
        assert status in (SOME_FAILED, cli.BAD_USAGE)
        assert len(err.splitlines()) == 1
        return set(), err

    return ask


@pytest.fixture(params=["python", "http", "command line"])
def ask(request: pytest.FixtureRequest) -> Ask:
    if request.param == "python":
        return _ask_python(request.getfixturevalue("tagger"))
    if request.param == "http":
        return _ask_http(request.getfixturevalue("client"))
    monkeypatch, engine = request.getfixturevalue("monkeypatch"), request.getfixturevalue("engine")
    monkeypatch.setattr("sigrl.service.tagging.tagger.load_engine", lambda *_: engine)
    return _ask_command_line(request.getfixturevalue("sigrl"), request.getfixturevalue("photograph"))


RIGHT = {
    "cmyk jpeg": samples.cmyk_jpeg(),
    "16-bit png": samples.png_16_bit_rgb(),
    "animated gif": samples.animated("GIF"),
    "animated webp": samples.animated("WEBP"),
    "webp": samples.encode(samples.picture(), "WEBP"),
    "avif": samples.encode(samples.picture(), "AVIF"),
    "heic": samples.HEIC,
    "heic on its side": samples.HEIC_ROTATED,
    **{f"exif orientation {number}": samples.exif_rotated("JPEG", number) for number in range(1, 9)},
}


@pytest.mark.parametrize("data", RIGHT.values(), ids=RIGHT.keys())
def test_unusual_images_are_tagged_correctly(ask: Ask, data: bytes) -> None:
    # The fake engine sees the mean colour of the left and of the right half: turned by 90 degrees, both are
    # purple and neither label is accepted.
    assert ask(data, ["red", "blue", "green", "white", "black"]) == ({"red", "blue"}, "")


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"])
def test_one_pixel_images_are_tagged(ask: Ask, form: str) -> None:
    assert ask(samples.encode(Image.new("RGB", (1, 1), "blue"), form), ["red", "blue"]) == ({"blue"}, "")


WRONG = {
    "empty": (b"", "empty"),
    "text": (b"this is no photograph", "format is not known"),
    "pdf": (b"%PDF-1.4 ...", "PDF"),
    "video": (b"\0\0\0\x18ftypisom\0\0\0\0", "video"),
    "garbage that claims to be heic": (b"\0\0\0\x18ftypheic" + bytes(range(200)), "HEIC"),
    "truncated jpeg": (samples.jpeg(400, 300)[:900], "complete"),
    "truncated png": (samples.png_16_bit_rgb()[:80], "complete"),
    "60,000 x 60,000 pixels": (samples.png_header_of(60_000, 60_000), "70 megapixels"),
    "10,000 x 10,000 pixels": (samples.png_header_of(10_000, 10_000), "10,000 x 10,000"),
}


# pytest resets the filter that images.py sets.
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize(("data", "says"), WRONG.values(), ids=WRONG.keys())
def test_unreadable_files_are_rejected(ask: Ask, data: bytes, says: str) -> None:
    accepted, error = ask(data, ["red"])
    assert accepted == set()
    assert says in error
    assert ask(samples.jpeg(), ["red"]) == ({"red"}, "")


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        pytest.param([], "no label", id="no labels"),
        pytest.param([""], "empty", id="an empty label"),
        pytest.param(["x" * 10_000], "10,000 characters", id="10,000 characters"),
        pytest.param(["red", "dog", "Red "], "twice", id="a duplicate"),
        pytest.param(["red\x07"], "control character", id="a control character"),
        pytest.param([f"label {number}" for number in range(MAX_LABELS + 1)], "20,001", id="20,001 labels"),
    ],
)
def test_unusable_labels_are_rejected(ask: Ask, labels: list[str], says: str) -> None:
    accepted, error = ask(samples.jpeg(), labels)
    assert accepted == set()
    assert says in error
    assert len(error) < 400
    assert ask(samples.jpeg(), ["red"]) == ({"red"}, "")


def test_maximum_number_of_labels_is_accepted(ask: Ask) -> None:
    labels = [f"label {number}" for number in range(MAX_LABELS - 1)]
    assert ask(samples.jpeg(), [*labels, "red"]) == ({"red"}, "")
