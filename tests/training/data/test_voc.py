"""VOC's label files: only 1 is positive, and the archive's folders are found."""

from pathlib import Path

import numpy as np
import pytest

from sigrl.training.data.dataset import DataError
from sigrl.training.data.voc import CLASSES, read_voc

LABELS = {"dog": (" 1", "-1", " 0"), "tvmonitor": ("-1", "-1", " 1")}
"""The labels of 2009_2, 2008_1 and 2008_3: a dog, nothing, and a difficult dog beside a tv monitor."""


@pytest.fixture
def main(tmp_path: Path) -> Path:
    """`ImageSets/Main` of a split of three photographs."""
    folder = tmp_path / "VOCdevkit" / "VOC2012" / "ImageSets" / "Main"
    folder.mkdir(parents=True)
    for spelling in CLASSES:
        labels = LABELS.get(spelling, ("-1", "-1", "-1"))
        lines = zip(("2009_2", "2008_1", "2008_3"), labels, strict=True)
        (folder / f"{spelling}_val.txt").write_text("".join(f"{one} {label}\n" for one, label in lines))
    return folder


def test_only_1_is_read_as_positive(tmp_path: Path, main: Path) -> None:
    photographs = read_voc(tmp_path, "val")
    assert photographs.ids == ("2008_1", "2008_3", "2009_2")
    assert photographs.image_paths[0] == main.parents[1] / "JPEGImages" / "2008_1.jpg"
    assert len(photographs.label_names) == 20
    rows, columns = np.nonzero(photographs.labels == 1)
    positives = [
        (photographs.ids[row], photographs.label_names[column])
        for row, column in zip(rows, columns, strict=True)
    ]
    assert positives == [("2008_3", "tv monitor"), ("2009_2", "dog")]
    assert set(np.unique(photographs.labels)) == {-1, 1}
    assert len(photographs.with_positives()) == 2


def test_inner_folders_are_accepted_as_root(tmp_path: Path, main: Path) -> None:
    for root in (tmp_path / "VOCdevkit", main.parents[1]):
        assert read_voc(root, "val").image_paths == read_voc(tmp_path, "val").image_paths


@pytest.mark.parametrize("content", ["2008_1\n", "2008_1 2\n", "2008_1 1 1\n"])
def test_invalid_lines_are_reported(tmp_path: Path, main: Path, content: str) -> None:
    (main / "cow_val.txt").write_text(content)
    with pytest.raises(DataError, match=r"cow_val\.txt has lines other than an image id and -1, 0 or 1"):
        read_voc(tmp_path, "val")


def test_empty_missing_or_inconsistent_files_are_reported(tmp_path: Path, main: Path) -> None:
    path = main / "cow_val.txt"
    path.write_text("2008_1 1\n")
    with pytest.raises(DataError, match=r"cow_val\.txt and aeroplane_val\.txt list different photographs"):
        read_voc(tmp_path, "val")
    path.write_text("\n")
    with pytest.raises(DataError, match=r"cow_val\.txt lists no photographs"):
        read_voc(tmp_path, "val")
    path.unlink()
    with pytest.raises(DataError, match=r"cow_val\.txt does not exist: point `data\.root`"):
        read_voc(tmp_path, "val")
