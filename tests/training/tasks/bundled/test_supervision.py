"""No part of a run's training data reveals a hidden label."""

import re
from pathlib import Path

import pytest
import torch

from sigrl.training.data.coco import load_coco
from sigrl.training.data.dataset import DataError
from sigrl.training.tasks.bundled.config import DataConfig, TrainingConfig
from sigrl.training.tasks.bundled.supervision import load_supervision, unrelated_names

HIDDEN = re.compile(r"cat|kitten|wine", re.IGNORECASE)


def test_hidden_labels_are_removed_from_all_training_data(config: TrainingConfig) -> None:
    split = load_coco(config.data.root, "train2014")
    supervision = load_supervision(config.data)

    assert supervision.label_names == ("person", "dog", "car", "chair", "handbag", "dining table")
    columns = [split.label_names.index(name) for name in supervision.label_names]
    assert torch.equal(supervision.labels, torch.from_numpy(split.labels[:, columns]))

    told = [caption for caption in supervision.captions if caption is not None]
    assert told
    assert not any(HIDDEN.search(text) for text in (*told, *supervision.names, *supervision.label_names))
    assert any(HIDDEN.search(caption or "") for caption in split.captions)
    assert {"dog", "person", "thing 0"} <= set(supervision.names)


def test_image_without_caption_is_kept(config: TrainingConfig) -> None:
    split = load_coco(config.data.root, "train2014")
    supervision = load_supervision(config.data)
    assert supervision.image_paths == split.image_paths
    assert supervision.has_caption.tolist() == [caption is not None for caption in supervision.captions]
    for told, original in zip(supervision.captions, split.captions, strict=True):
        assert told is None if HIDDEN.search(original or "") else told == original


def test_without_hidden_labels_nothing_is_dropped(config: TrainingConfig) -> None:
    data = config.data.model_copy(update={"hidden_labels": ()})
    supervision = load_supervision(data)
    assert len(supervision.label_names) == 8
    assert supervision.has_caption.all()
    assert {"cat", "kitten", "cats", "red wine glass"} <= set(supervision.names)


def test_empty_label_lists_are_rejected(coco_root: Path, tmp_path: Path) -> None:
    (tmp_path / "cats.txt").write_text("cat\ncats\n")
    for lists in ((), (tmp_path / "cats.txt",)):
        data = DataConfig(root=coco_root, hidden_labels=("cat",), label_lists=lists)
        with pytest.raises(DataError, match=r"data\.label_lists"):
            load_supervision(data)


def test_distractor_names_do_not_mention_the_labels(config: TrainingConfig) -> None:
    names = unrelated_names(config.data, ("dog", "cat", "wine glass"))
    assert not HIDDEN.search(" ".join(names))
    assert "dog" not in names
    assert {"person", "thing 39"} <= set(names)
