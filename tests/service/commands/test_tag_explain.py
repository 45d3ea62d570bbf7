"""`sigrl tag --explain`."""

import json
from pathlib import Path

import numpy as np
import pytest
import sample_images as samples
from fake_engine import FakeEngine
from PIL import Image
from two_checkpoints import serving

from sigrl.service.app import create_app
from sigrl.service.drawing.explanations import PANEL
from sigrl.service.settings import Settings
from sigrl.service.tagging.tagger import Tagger


@pytest.fixture(autouse=True)
def _fake_engine(engine: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sigrl.service.tagging.tagger.load_engine", lambda *_: engine)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "where.png"


def test_explain_draws_the_image_beside_a_map_per_tag(sigrl, photograph: Path, out: Path) -> None:
    status, told, err = sigrl("tag", photograph, "--labels", "red,green,blue", "--explain", out)
    assert (status, err) == (0, "")
    lines = told.splitlines()
    assert [line.split()[0] for line in lines[1:-1]] == ["red", "blue"]
    assert lines[-1].startswith(str(out))
    picture = np.asarray(Image.open(out)).astype(int)
    assert 3 * PANEL < picture.shape[1] < 3.3 * PANEL
    # The photograph, then the maps of red and blue: yellow, with more green than blue, where each is seen.
    row, panels = picture[picture.shape[0] // 2], 24 + np.arange(3) * (PANEL + 24)
    left, right = row[panels + 40], row[panels + PANEL - 40]
    assert left[0, 0] > 200
    assert right[0, 2] > 200
    assert (left[1:, 1] > left[1:, 2]).tolist() == [True, False]
    assert (right[1:, 1] > right[1:, 2]).tolist() == [False, True]


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        (("--labels", "green,black"), 2),
        (("--labels", "green,red", "--top-k", 2), 2),
        ((), 3),
        (("--vocabulary", "coco80", "--top-k", 11), 11),
    ],
)
def test_explain_shows_the_selected_labels(
    sigrl, photograph: Path, out: Path, options: tuple[object, ...], shown: int
) -> None:
    told = sigrl("tag", photograph, *options, "--explain", out, "--json")[1]
    answer = json.loads(told)
    assert (len(answer["tags"]), len(answer["tags"][0]["grid"][0])) == (shown, 2)
    assert out.stat().st_size > 0


def test_explain_draws_the_tags_and_not_what_they_imply(
    sigrl, photograph: Path, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    colours = tmp_path / "colours.json"
    colours.write_text(json.dumps({"labels": [{"name": "black"}, {"name": "red", "parent": "black"}]}))
    monkeypatch.setenv("SIGRL_VOCABULARY", str(colours))
    listed = json.loads(sigrl("tag", photograph, "--json")[1])
    assert [[tag["label"] for tag in listed[kind]] for kind in ("tags", "implied")] == [["red"], ["black"]]
    drawn = json.loads(sigrl("tag", photograph, "--explain", out, "--json")[1])
    assert [tag["label"] for tag in drawn["tags"]] == ["red"]


@pytest.mark.parametrize("size", [(1, 900), (900, 1), (3000, 40)])
def test_explain_accepts_any_image_shape_and_label_text(
    sigrl, tmp_path: Path, out: Path, size: tuple[int, int]
) -> None:
    path = tmp_path / "odd name \udcff 犬.jpg"
    path.write_bytes(samples.jpeg(*size))
    labels = json.dumps(["red", "a label of many words " * 8, "犬" * 60])
    assert sigrl("tag", path, "--labels", labels, "--top-k", 3, "--explain", out)[0] == 0
    assert max(Image.open(out).size) < 4 * (PANEL + 40)


def test_explain_with_a_server_gives_the_same_output(
    sigrl, photograph: Path, out: Path, engine: FakeEngine
) -> None:
    arguments = ("tag", photograph, "--labels", "red,blue", "--explain", out)
    here = sigrl(*arguments), out.read_bytes()
    with serving(create_app(Settings(), Tagger(engine=engine))) as client:
        assert (sigrl(*arguments, "--server", client.base_url), out.read_bytes()) == here


def test_unreadable_image_is_reported_and_nothing_written(sigrl, photograph: Path, out: Path) -> None:
    photograph.write_bytes(samples.jpeg()[:300])
    status, told, err = sigrl("tag", photograph, "--explain", out)
    assert (status, told, len(err.splitlines())) == (1, "", 1)
    assert not out.exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["FOLDER", "--explain", "OUT"], "a folder is given"),
        (["PHOTO", "PHOTO", "--explain", "OUT"], "2 are given"),
        (["absent.jpg", "--explain", "OUT"], "absent.jpg"),
        (["PHOTO", "--explain", "PHOTO"], "this command did not write"),
        (["PHOTO", "--explain", "OUT.gif"], ".png"),
        (["PHOTO", "--explain", "OUT", "--out", "tags.csv"], "--out"),
        (["PHOTO", "--explain", "OUT", "--threshold", "0.5"], "--top-k"),
        (["PHOTO", "--explain", "OUT", "--vocabulary", "voc20", "--vocabulary", "coco80"], "one vocabulary"),
        (["PHOTO", "--explain", "OUT", "--top-k", "33"], "32"),
    ],
)
def test_invalid_usage_is_rejected(
    sigrl, photograph: Path, out: Path, arguments: list[str], says: str
) -> None:
    stand_for = {"PHOTO": photograph, "FOLDER": photograph.parent, "OUT": out}
    status, told, err = sigrl("tag", *(stand_for.get(each, each) for each in arguments))
    assert (status, told) == (2, "")
    assert says in err
    assert not out.exists()
