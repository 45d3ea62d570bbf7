"""`sigrl tag --sheet`."""

from pathlib import Path

import numpy as np
import pytest
import sample_images as samples
from fake_engine import FakeEngine
from PIL import Image
from two_checkpoints import serving

from sigrl.service.app import create_app
from sigrl.service.drawing.sheets import PHOTOGRAPH
from sigrl.service.settings import Settings
from sigrl.service.tagging.tagger import Tagger

GREY = (0xD4, 0xD4, 0xD4)


@pytest.fixture(autouse=True)
def _fake_engine(engine: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sigrl.service.tagging.tagger.load_engine", lambda *_: engine)


@pytest.fixture
def album(tmp_path: Path) -> Path:
    (tmp_path / "album" / "below").mkdir(parents=True)
    for name in ("a.jpg", "b.jpg", "below/c.png"):
        (tmp_path / "album" / name).write_bytes(samples.jpeg(600, 450))
    return tmp_path / "album"


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "sheet.png"


def _middles(page: Path) -> list[tuple[int, ...]]:
    """Colours near the centres of the photographs in the first row."""
    pixels = np.asarray(Image.open(page))
    step = PHOTOGRAPH[0] + 20
    return [
        tuple(map(int, pixels[100, 20 + column * step + 40])) for column in range(pixels.shape[1] // step)
    ]


def test_sheet_shows_images_above_their_tags(sigrl, album: Path, out: Path) -> None:
    (album / "b.jpg").write_bytes(samples.jpeg()[:300])
    status, told, err = sigrl("tag", album, "--labels", "red,blue,green", "--sheet", out)
    assert (status, told) == (1, f"{out}: 3 photographs, 1 failed\n")
    assert "b.jpg: " in err
    left, broken, right = _middles(out)
    assert left[0] > 150 > left[2]
    assert broken == GREY
    assert right[0] > 150 > right[2]
    assert Image.open(out).width == 20 + 3 * (PHOTOGRAPH[0] + 20)


def test_large_sheet_is_split_into_pages(sigrl, album: Path, engine: FakeEngine) -> None:
    for number in range(58):
        (album / f"n{number}.jpg").write_bytes(samples.jpeg(8, 6))
    out = album / "sheet.jpg"
    # Pages of an earlier run are not treated as photographs.
    for _ in range(2):
        engine.batches.clear()
        status, told, err = sigrl("tag", album, "--sheet", out)
        assert (status, told, err) == (0, f"{out} to {album / 'sheet-3.jpg'}: 61 photographs\n", "")
        assert sum(engine.batches) == 61
    heights = [Image.open(album / f"sheet{number}.jpg").height for number in ("", "-2", "-3")]
    assert heights[0] == heights[1] > 4 * heights[2]
    # Only surplus pages are deleted.
    (album / "sheet-4.jpg").write_bytes(samples.jpeg())
    for number in range(40):
        (album / f"n{number}.jpg").unlink()
    assert sigrl("tag", album, "--sheet", out)[0] == 0
    assert sorted(each.name for each in album.glob("sheet*")) == ["sheet-4.jpg", "sheet.jpg"]


def test_sheet_pages_never_overwrite_images(sigrl, album: Path, engine: FakeEngine) -> None:
    for number in range(30):
        (album / f"sheet-{number}.jpg").write_bytes(samples.jpeg(8, 6))
    status, told, err = sigrl("tag", album, "--sheet", album / "sheet.jpg")
    assert (status, told, engine.batches) == (2, "", [])
    assert "sheet-2.jpg' a file that" in err.replace("',", "'")


@pytest.mark.parametrize("options", [("--top-k", 3), ("--threshold", 0.0), ("--vocabulary", "coco80")])
def test_sheet_accepts_labels_of_any_length_and_number(
    sigrl, album: Path, out: Path, options: tuple[object, ...]
) -> None:
    labels = () if "--vocabulary" in options else ("--labels", f'["red", "{"犬" * 90}", "{"w " * 90}"]')
    (album / f"{'a long name ' * 15}\udcff.jpg").write_bytes(samples.jpeg(1, 900))
    assert sigrl("tag", album, *labels, *options, "--sheet", out)[0] == 0
    assert Image.open(out).width == 20 + 4 * (PHOTOGRAPH[0] + 20)


def test_sheet_with_a_server_gives_the_same_output(sigrl, album: Path, out: Path, engine: FakeEngine) -> None:
    (album / "b.jpg").write_text("no photograph")
    arguments = ("tag", album, "--labels", "red,blue", "--sheet", out)
    here = sigrl(*arguments), out.read_bytes()
    with serving(create_app(Settings(), Tagger(engine=engine))) as client:
        assert (sigrl(*arguments, "--server", client.base_url), out.read_bytes()) == here


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["absent", "--sheet", "OUT"], "absent"),
        (["ALBUM", "--sheet", "tags.csv"], ".png"),
        (["ALBUM", "--sheet", "PHOTO"], "this command did not write"),
        (["ALBUM", "--sheet", "OUT", "--json"], "--json"),
        (["ALBUM", "--sheet", "OUT", "--out", "tags.csv"], "--out"),
        (["PHOTO", "--sheet", "OUT", "--explain", "where.png"], "the other picture"),
        (["ALBUM", "--sheet", "OUT", "--vocabulary", "voc20", "--vocabulary", "coco80"], "one vocabulary"),
    ],
)
def test_invalid_usage_is_rejected(sigrl, album: Path, out: Path, arguments: list[str], says: str) -> None:
    stand_for = {"ALBUM": album, "PHOTO": album / "a.jpg", "OUT": out}
    status, told, err = sigrl("tag", *(stand_for.get(each, each) for each in arguments))
    assert (status, told) == (2, "")
    assert says in err
    assert not out.exists()


def test_folder_with_only_earlier_sheet_pages_is_rejected(sigrl, album: Path, out: Path) -> None:
    assert sigrl("tag", album, "--sheet", out)[0] == 0
    status, _, err = sigrl("tag", out, "--sheet", out)
    assert status == 2
    assert "no photograph" in err
