"""The single-positive protocol apart from its random draw: order, split, published draws."""

import json
from pathlib import Path

import numpy as np
import pytest

from sigrl.training.data.coco import read_coco
from sigrl.training.data.dataset import DataError, LabelledPhotographs
from sigrl.training.data.single_positive import (
    in_published_order,
    observe_one_positive,
    split_published_draw,
    split_rows,
    split_single_positive,
)

SUBSET = Path(__file__).parents[4] / "shared" / "data" / "coco-subset"
PHOTOGRAPHS = 40
NAMES = ("dog", "cat", "tree")


@pytest.fixture
def photographs() -> LabelledPhotographs:
    labels = np.random.RandomState(0).choice(np.array([-1, 1], dtype=np.int8), size=(PHOTOGRAPHS, 3))
    labels[5] = -1
    ids = tuple(str(number) for number in range(PHOTOGRAPHS))
    paths = tuple(Path(f"{image_id}.jpg") for image_id in ids)
    return LabelledPhotographs(paths, NAMES, labels, ids)


def test_published_order_sorts_ids_as_text_and_drops_unlabelled(photographs) -> None:
    labelled = {image_id for image_id, row in zip(photographs.ids, photographs.labels, strict=True)
                if (row == 1).any()}  # fmt: skip
    assert "5" not in labelled
    assert in_published_order(photographs).ids == tuple(sorted(labelled))
    assert sorted(labelled)[1:3] == ["1", "10"]


def test_published_order_requires_ids(photographs) -> None:
    nameless = LabelledPhotographs(photographs.image_paths, NAMES, photographs.labels)
    with pytest.raises(ValueError, match="these have none"):
        in_published_order(nameless)


def test_observed_labels_are_drawn_before_the_split(photographs) -> None:
    shuffled = photographs.select(np.random.RandomState(1).permutation(PHOTOGRAPHS))
    splits = split_single_positive(shuffled)
    ordered = in_published_order(photographs)
    train, validation = split_rows(len(ordered))
    assert len(validation) == round(0.2 * len(ordered))
    np.testing.assert_array_equal(splits.train.labels, observe_one_positive(ordered.labels)[train])
    np.testing.assert_array_equal(splits.complete_train.labels, ordered.labels[train])
    np.testing.assert_array_equal(splits.validation.labels, ordered.labels[validation])
    assert splits.train.ids == splits.complete_train.ids
    assert not set(splits.train.ids) & set(splits.validation.ids)


def test_each_training_image_keeps_one_true_positive(photographs) -> None:
    splits = split_single_positive(photographs)
    assert ((splits.train.labels == 1).sum(1) == 1).all()
    assert set(np.unique(splits.train.labels)) == {0, 1}
    assert (splits.complete_train.labels[splits.train.labels == 1] == 1).all()


@pytest.fixture
def instances(tmp_path: Path) -> Path:
    path = tmp_path / "instances_train2014.json"
    categories = [{"id": 10 * place, "name": name} for place, name in enumerate(NAMES, 1)]
    path.write_text(json.dumps({"categories": categories}))
    return path


def test_published_draw_replaces_the_random_draw(photographs, instances: Path, tmp_path: Path) -> None:
    draw = tmp_path / "draw.json"
    draw.write_text(json.dumps(dict.fromkeys(photographs.ids, 20)))
    splits = split_published_draw(photographs, draw, instances)
    assert splits.train.ids == split_single_positive(photographs).train.ids
    assert (splits.train.labels == [0, 1, 0]).all()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not a JSON object"),
        ("[1]", "is not a JSON object"),
        ('{"0": [1]}', "is not a JSON object"),
        ("{}", "lacks a category"),
        ('{"0": 99}', "lacks a category"),
        (None, "does not exist"),
    ],
)
def test_invalid_published_draw_is_reported(
    photographs, instances: Path, tmp_path: Path, content, message: str
) -> None:
    draw = tmp_path / "draw.json"
    if content is not None:
        draw.write_text(content)
    with pytest.raises(DataError, match=rf"draw\.json {message}"):
        split_published_draw(photographs, draw, instances)


@pytest.mark.skipif(not SUBSET.is_dir(), reason=f"{SUBSET} is not there")
def test_coco_subset_draw_matches_its_labels() -> None:
    annotations = SUBSET / "annotations"
    splits = split_published_draw(
        read_coco(SUBSET, "train2014"),
        annotations / "single_positive_train2014.json",
        annotations / "instances_train2014.json",
    )
    assert (len(splits.train), len(splits.validation)) == (11_200, 2_800)
    assert ((splits.train.labels == 1).sum(1) == 1).all()
    assert (splits.complete_train.labels[splits.train.labels == 1] == 1).all()
