"""One folder for each label."""

from pathlib import Path

import pytest

from sigrl.training.data.class_folders import read_class_folders
from sigrl.training.data.dataset import DataError
from sigrl.training.data.folder import label_photographs


def test_sub_folder_name_is_the_label(tmp_path: Path) -> None:
    for name in ("wet_sand/2.jpg", "dog/1.JPEG", "dog/puppies/3.png", "dog/notes.txt", ".cache/4.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    photographs = label_photographs(tmp_path, read_class_folders(tmp_path), complete=True)
    assert photographs.ids == ("dog/1.JPEG", "dog/puppies/3.png", "wet_sand/2.jpg")
    assert photographs.label_names == ("dog", "wet sand")
    assert photographs.labels.tolist() == [[1, -1], [1, -1], [-1, 1]]


def test_images_outside_class_folders_are_reported(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no sub-folders with photographs"):
        read_class_folders(tmp_path)
    with pytest.raises(DataError, match="is not a folder"):
        read_class_folders(tmp_path / "absent")
    (tmp_path / "1.jpg").touch()
    with pytest.raises(DataError, match=r"1\.jpg is not in a sub-folder"):
        read_class_folders(tmp_path)
