"""Drawn pictures, which teach that an empty picture shows nothing."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sigrl.training.tasks.everyday.config import EverydayConfig
from sigrl.training.tasks.everyday.data import load_data
from sigrl.training.tasks.everyday.drawn import DRAWN, drawn_pictures
from sigrl.training.tasks.everyday.run import train
from sigrl.training.tasks.everyday.start import Start


def test_the_same_pictures_are_drawn_everywhere(tmp_path: Path) -> None:
    first, second = (drawn_pictures(tmp_path / name, {"text"}, 3, 0) for name in ("a", "b"))
    assert [one.place for one in first] == [one.place for one in second]
    for one, other in zip(first, second, strict=True):
        assert one.path.read_bytes() == other.path.read_bytes()
    others = drawn_pictures(tmp_path / "c", {"text"}, 3, 1)
    assert {one.path.read_bytes() for one in first}.isdisjoint(one.path.read_bytes() for one in others)


def test_only_texts_have_a_label(tmp_path: Path) -> None:
    pictures = drawn_pictures(tmp_path, {"text", "sky", "dog"}, 2, 0)
    kinds = {one.place.split("-")[0]: one for one in pictures}
    assert all(one.dense and one.sought and one.role == "train" for one in pictures)
    assert {kind for kind, one in kinds.items() if one.positive} == {"text"}
    assert kinds["gradient"].unsure == {"sky"}
    assert not kinds["plain"].unsure


@pytest.mark.parametrize("seed", range(4))
def test_every_picture_can_be_opened_and_plain_ones_are_plain(tmp_path: Path, seed: int) -> None:
    for one in drawn_pictures(tmp_path, (), 2, seed):
        pixels = np.asarray(Image.open(one.path).convert("RGB")).reshape(-1, 3)
        assert one.place.startswith("plain") == (len(np.unique(pixels, axis=0)) == 1)


def test_a_run_trains_on_them(everyday: Callable[..., EverydayConfig], start: Start, tmp_path: Path) -> None:
    config = everyday(drawn=1, views=())
    data = load_data(config)
    drawn = [row for row, one in enumerate(data.photographs) if one.source == DRAWN]
    assert len(drawn) == 7
    # No name of this vocabulary applies to any of them.
    assert (data.targets.known[drawn][:, : len(data.names)] == -1).all()
    trained = train(config, tmp_path / "run", start)
    assert trained.trained_on[drawn].all()
    assert any(row["source"] == DRAWN for row in trained.provenance["sources"])
