from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sample_images as samples
from fake_engine import PREPROCESSING, FakeEngine
from fastapi.testclient import TestClient
from PIL import Image

from sigrl import Tagger
from sigrl.model.config import Preprocessing
from sigrl.service import errors
from sigrl.service.app import create_app
from sigrl.service.drawing.heat_maps import MAX_SIDE, overlay
from sigrl.service.settings import Settings

PHOTOGRAPH = ("image", ("photo.jpg", samples.jpeg(), "image/jpeg"))


@pytest.fixture
def client(tagger: Tagger) -> Iterator[TestClient]:
    with TestClient(create_app(Settings(max_images=4), tagger), raise_server_exceptions=False) as client:
        yield client


def _explain(client: TestClient, accept: str = "application/json", **data: str) -> Any:
    return client.post("/v1/explain", files=[PHOTOGRAPH], data=data, headers={"accept": accept})


def test_response_contains_a_grid_per_label(client: TestClient) -> None:
    response = _explain(client, labels="green,red,blue")
    assert response.status_code == 200, response.text
    answer = response.json()
    assert (answer["height"], answer["width"], answer["covers"]) == (1, 2, "photograph")
    grids = {tag["label"]: tag["grid"] for tag in answer["tags"]}
    assert (grids["red"], grids["blue"]) == ([[1.0, 0.0]], [[0.0, 1.0]])
    assert all(tag["lowest"] < tag["highest"] for tag in answer["tags"] if tag["label"] != "green")
    assert "model;dur=" in response.headers["server-timing"]


def test_explain_verdicts_match_tagging(client: TestClient) -> None:
    data = {"labels": "green,red,blue", "top_k": "2"}
    tags = client.post("/v1/tag", files=[PHOTOGRAPH], data=data).json()["images"][0]["tags"]
    explained = _explain(client, **data).json()["tags"]
    assert [{name: tag[name] for name in tags[0]} for tag in explained] == tags


def test_without_labels_the_tags_or_guesses_are_explained(
    client: TestClient, tagger: Tagger, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = client.post("/v1/tag", files=[PHOTOGRAPH]).json()["images"][0]
    explained = _explain(client).json()
    shown = told["tags"] or told["guesses"]
    assert [tag["label"] for tag in explained["tags"]] == [tag["label"] for tag in shown] != []
    assert explained["implied"] == told["implied"]
    # A picture that gets neither has maps of its most probable labels.
    monkeypatch.setattr("sigrl.service.tagging.selection.LEAST_GUESS", 0.9)
    grey = samples.encode(Image.new("RGB", (48, 32), (120, 120, 120)), "PNG")
    (nothing,) = tagger.tag_many([grey])
    assert not nothing.tags + nothing.guesses
    assert len(tagger.explain(grey).tags) == 3


def test_raw_body_and_python_give_the_same_explanation(client: TestClient, tagger: Tagger) -> None:
    answer = client.post("/v1/explain", params={"labels": "red,blue"}, content=samples.jpeg()).json()
    assert answer == tagger.explain(samples.jpeg(), ["red", "blue"]).model_dump(mode="json")


def test_only_the_best_of_many_labels_are_explained(client: TestClient, tagger: Tagger) -> None:
    assert len(_explain(client, vocabulary="coco80").json()["tags"]) == 10
    many = ",".join(f"label {number}" for number in range(32))
    assert len(_explain(client, labels=many).json()["tags"]) == 32
    assert len(_explain(client, vocabulary="coco80", top_k="32").json()["tags"]) == 32
    with pytest.raises(errors.ParameterError, match="32"):
        tagger.explain(samples.jpeg(), ["red"], top_k=33)


def test_png_overlay_is_returned_for_one_label(client: TestClient) -> None:
    response = _explain(client, accept="image/png", labels="red")
    assert (response.status_code, response.headers["content-type"]) == (200, "image/png")
    picture = Image.open(BytesIO(response.content))
    assert (picture.size, picture.mode) == ((48, 32), "RGB")
    left, right = picture.getpixel((4, 16)), picture.getpixel((44, 16))
    # Yellow has more green than blue, violet the other way round.
    assert left[1] > left[2]
    assert right[1] < right[2]


@pytest.mark.parametrize(
    ("accept", "data", "told"),
    [
        ("image/png", {"labels": "red,blue"}, "one label"),
        ("application/json", {"labels": "red", "top_k": "33"}, "32"),
        ("application/json", {"labels": "red", "threshold": "0.1"}, "threshold"),
    ],
)
def test_invalid_explain_requests_are_rejected(
    client: TestClient, accept: str, data: dict[str, str], told: str
) -> None:
    response = _explain(client, accept=accept, **data)
    assert response.status_code == 422
    problem = response.json()
    assert problem["type"] == "urn:sigrl:problem:invalid-parameter"
    assert told in problem["detail"] + problem["hint"]


def test_explain_requires_exactly_one_readable_image(client: TestClient) -> None:
    assert client.post("/v1/explain", files=[PHOTOGRAPH] * 2).status_code == 422
    assert client.post("/v1/explain", content=b"GIF89a").status_code == 422


def test_overlay_covers_only_the_area_the_checkpoint_sees() -> None:
    white = Image.new("RGB", (300, 100), "white")
    pixels = np.asarray(overlay(white, [[0.0, 1.0]], 1.0)).astype(int)
    unseen = np.concatenate([pixels[:, :100], pixels[:, 200:]], axis=1)
    assert np.ptp(unseen) == 0
    assert pixels[50, 101, 1] < pixels[50, 198, 1]
    whole = np.asarray(overlay(white, [[0.0], [1.0]], None)).astype(int)
    assert np.ptp(whole, axis=1).max() == 0
    assert whole[5, 0, 1] < whole[95, 0, 1]
    seen = np.asarray(overlay(white, [[1.0]], 0.8))[:, :, 1] != unseen[0, 0, 1]
    assert np.argwhere(seen).min(axis=0).tolist() == [10, 110]
    assert np.argwhere(seen).max(axis=0).tolist() == [89, 189]


@pytest.mark.parametrize("size", [(3000, 1500), (1, 5000), (5000, 1), (1, 1)])
def test_overlay_size_is_limited_for_any_image_shape(size: tuple[int, int]) -> None:
    for square in (None, 1.0, 0.875):
        drawn = overlay(Image.new("RGB", size), [[0.5, 0.0], [1.0, 0.2]], square)
        assert max(drawn.size) <= MAX_SIDE
        assert min(drawn.size) >= 1


def test_uniform_patches_give_an_all_zero_grid(tagger: Tagger) -> None:
    (tag,) = tagger.explain(samples.encode(Image.new("RGB", (9, 9), "red"), "PNG"), ["red"]).tags
    assert tag.grid == ((0.0, 0.0),)


def test_explanation_reports_the_centre_crop() -> None:
    crop = PREPROCESSING.model_dump() | {"resize": "crop"}
    for more, side in (({}, 1.0), ({"short_side": 40}, 0.8)):
        engine = FakeEngine(preprocessing=Preprocessing(**crop | more))
        explanation = Tagger(engine=engine).explain(samples.jpeg(), ["red"])
        assert (explanation.covers, explanation.covered_side) == ("centre-square", side)
        assert explanation.square == side
    assert Tagger(engine=FakeEngine()).explain(samples.jpeg(), ["red"]).square is None


def test_explain_works_with_a_real_checkpoint(tiny_bundle: Path) -> None:
    with TestClient(create_app(Settings(checkpoint=tiny_bundle))) as client:
        answer = _explain(client, labels="dog,cat").json()
        assert _explain(client, accept="image/png", labels="dog").content.startswith(b"\x89PNG")
    for tag in answer["tags"]:
        grid = np.array(tag["grid"])
        assert grid.shape == (answer["height"], answer["width"])
        assert (grid.min(), grid.max()) == (0, 1)


def test_openapi_describes_grids_and_png_images(client: TestClient) -> None:
    described = client.get("/openapi.json").json()["paths"]["/v1/explain"]["post"]
    assert set(described["responses"]["200"]["content"]) == {"application/json", "image/png"}
    assert [each["name"] for each in described["parameters"]] == [
        "url",
        "labels",
        "vocabulary",
        "language",
        "top_k",
        "checkpoint",
    ]
