"""COCO's layout, and errors that name the file and say what to do."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sigrl.training.data.coco import category_names, load_coco, read_coco, read_coco_files
from sigrl.training.data.dataset import DataError
from sigrl.training.tasks.photographs.data import coco_rows

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


def test_load_coco_reads_a_split(root: Path) -> None:
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


def test_captions_are_optional(root: Path) -> None:
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
def test_instances_in_another_layout_are_reported(root: Path, content: Any) -> None:
    write(root, "instances", content)
    with pytest.raises(DataError, match=r"instances_val2014\.json.*: (it is not in COCO's|point)"):
        load_coco(root, "val2014")


@pytest.mark.parametrize("content", [{}, [], {"annotations": [{"image_id": 3}]}, {"annotations": [3]}])
def test_captions_in_another_layout_are_reported(root: Path, content: Any) -> None:
    write(root, "captions", content)
    with pytest.raises(DataError, match=r"captions_val2014\.json.*COCO's layout"):
        load_coco(root, "val2014")


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe", b""])
def test_invalid_json_is_reported(root: Path, content: bytes) -> None:
    (root / "annotations" / "instances_val2014.json").write_bytes(content)
    with pytest.raises(DataError, match=r"instances_val2014\.json is not JSON.*fetch the file again"):
        load_coco(root, "val2014")


def test_missing_annotation_file_is_reported(root: Path) -> None:
    with pytest.raises(DataError, match=r"instances_train2014\.json is not there: point `data\.root`"):
        load_coco(root, "train2014")


def test_missing_image_is_reported(root: Path) -> None:
    (root / "val2014" / "b.jpg").unlink()
    with pytest.raises(DataError, match=r"b\.jpg is listed in instances_val2014\.json but is not there"):
        load_coco(root, "val2014")


def test_read_coco_marks_all_labels_known_and_keeps_image_ids(root: Path) -> None:
    (root / "val2014" / "b.jpg").unlink()
    photographs = read_coco(root, "val2014")
    assert photographs.ids == ("7", "3")
    assert photographs.captions is None
    np.testing.assert_array_equal(photographs.labels, [[-1, -1], [1, 1]])


def test_annotation_file_may_be_anywhere_and_contain_boxes(root: Path, tmp_path: Path) -> None:
    boxes = [{**one, "bbox": [0, 0, 9, 9], "iscrowd": 0, "id": 1} for one in INSTANCES["annotations"]]
    path = tmp_path / "export.json"
    path.write_text(json.dumps({"info": {}, "licenses": [], **INSTANCES, "annotations": boxes}))
    photographs = read_coco_files(path, root / "val2014")
    assert photographs.image_paths[1] == root / "val2014" / "b.jpg"
    np.testing.assert_array_equal(photographs.labels, read_coco(root, "val2014").labels)


def test_category_names_are_keyed_by_id(root: Path) -> None:
    path = root / "annotations" / "instances_val2014.json"
    assert category_names(path) == {18: "dog", 1: "person"}
    path.write_text("[]")
    with pytest.raises(DataError, match="COCO's layout"):
        category_names(path)


@pytest.mark.parametrize("key", ["images", "categories"])
def test_duplicate_image_ids_or_category_names_are_reported(root: Path, key: str) -> None:
    repeated = [{**INSTANCES[key][0], "id": 99 if key == "categories" else 7}]
    write(root, "instances", {**INSTANCES, key: INSTANCES[key] + repeated})
    with pytest.raises(DataError, match="two photographs with one id, or two categories with one name"):
        read_coco(root, "val2014")


def test_absolute_file_name_must_be_inside_the_image_folder(root: Path) -> None:
    photographs = root / "val2014"
    images = [{"id": 7, "file_name": str(photographs / "a.jpg")}, {"id": 3, "file_name": "b.jpg"}]
    write(root, "instances", INSTANCES | {"images": images})
    rows, _ = coco_rows(root / "annotations" / "instances_val2014.json", photographs)
    assert [row.image for row in rows] == ["a.jpg", "b.jpg"]
    images[0]["file_name"] = "/mnt/elsewhere/a.jpg"
    write(root, "instances", INSTANCES | {"images": images})
    with pytest.raises(DataError, match=r"absolute `file_name` /mnt/elsewhere/a.jpg.*relative to the folder"):
        read_coco(root, "val2014")
