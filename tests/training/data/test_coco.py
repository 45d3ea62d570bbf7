"""COCO's layout, and errors that name the file and what to do."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from training.data.coco import DataError, load_coco

INSTANCES: dict[str, Any] = {
    "images": [{"id": 7, "file_name": "a.jpg"}, {"id": 3, "file_name": "b.jpg"}],
    "categories": [{"id": 18, "name": "dog"}, {"id": 1, "name": "person"}],
    "annotations": [
        {"image_id": 3, "category_id": 18},
        {"image_id": 3, "category_id": 18},
        {"image_id": 3, "category_id": 1},
    ],
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "annotations").mkdir()
    (tmp_path / "val2014").mkdir()
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / "val2014" / name).touch()
    write(tmp_path, "instances", INSTANCES)
    return tmp_path


def write(root: Path, kind: str, content: Any) -> None:
    (root / "annotations" / f"{kind}_val2014.json").write_text(json.dumps(content))


def test_a_split(root: Path) -> None:
    write(
        root,
        "captions",
        {
            "annotations": [
                {"image_id": 3, "caption": " A dog. \n"},
                {"image_id": 3, "caption": "Another"},
                {"image_id": 99, "caption": "Of no photograph here"},
            ]
        },
    )
    split = load_coco(root, "val2014")
    assert split.image_paths == (root / "val2014" / "a.jpg", root / "val2014" / "b.jpg")
    assert split.label_names == ("dog", "person")
    assert split.labels.dtype == np.float32
    np.testing.assert_array_equal(split.labels, [[0, 0], [1, 1]])
    assert split.captions == (None, "A dog.")


def test_captions_may_be_absent(root: Path) -> None:
    assert load_coco(root, "val2014").captions == (None, None)


@pytest.mark.parametrize(
    "content",
    [
        {},
        [],
        "text",
        {**INSTANCES, "images": [{"id": 7}]},
        {**INSTANCES, "categories": None},
        {**INSTANCES, "annotations": [{"image_id": 12345, "category_id": 18}]},
        {**INSTANCES, "images": [], "annotations": []},
    ],
)
def test_another_layout_is_told(root: Path, content: Any) -> None:
    write(root, "instances", content)
    with pytest.raises(DataError, match=r"instances_val2014\.json.*: (it is not in COCO's|point)"):
        load_coco(root, "val2014")


@pytest.mark.parametrize("content", [{}, [], {"annotations": [{"image_id": 3}]}, {"annotations": [3]}])
def test_captions_of_another_layout_are_told(root: Path, content: Any) -> None:
    write(root, "captions", content)
    with pytest.raises(DataError, match=r"captions_val2014\.json.*COCO's layout"):
        load_coco(root, "val2014")


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe", b""])
def test_what_is_not_json_is_told(root: Path, content: bytes) -> None:
    (root / "annotations" / "instances_val2014.json").write_bytes(content)
    with pytest.raises(DataError, match=r"instances_val2014\.json is not JSON.*fetch the file again"):
        load_coco(root, "val2014")


def test_an_absent_annotation_file_is_told(root: Path) -> None:
    with pytest.raises(DataError, match=r"instances_train2014\.json is not there: point `data\.root`"):
        load_coco(root, "train2014")


def test_an_absent_photograph_is_told(root: Path) -> None:
    (root / "val2014" / "b.jpg").unlink()
    with pytest.raises(DataError, match=r"b\.jpg is listed in instances_val2014\.json but is not there"):
        load_coco(root, "val2014")
