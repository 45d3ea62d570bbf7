"""The training data of a run: the training split without anything that names a hidden label."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from sigrl.training.data.coco import load_coco
from sigrl.training.data.dataset import DataError
from sigrl.training.data.label_lists import naming_pattern, read_label_list, unique
from sigrl.training.tasks.bundled.config import DataConfig


@dataclass(frozen=True)
class Supervision:
    """N photographs with targets for C trained labels; hidden labels appear nowhere."""

    image_paths: tuple[Path, ...]
    label_names: tuple[str, ...]
    labels: Tensor
    """[N, C] float32, 0 or 1."""
    captions: tuple[str | None, ...]
    has_caption: Tensor
    """[N] bool."""
    names: list[str]
    """V names of the label lists."""

    def select(self, rows: Tensor) -> "Supervision":
        """The photographs of `rows` [n], in that order."""
        return replace(
            self,
            image_paths=tuple(self.image_paths[row] for row in rows.tolist()),
            labels=self.labels[rows],
            captions=tuple(self.captions[row] for row in rows.tolist()),
            has_caption=self.has_caption[rows],
        )


def load_supervision(data: DataConfig) -> Supervision:
    """Loads the training split. A caption or list entry that names a hidden label is dropped; the photograph
    stays, without that label. Raises DataError when no name is left to distil."""
    split = load_coco(data.root, data.train_split)
    trained = [index for index, name in enumerate(split.label_names) if name not in data.hidden_labels]
    pattern = naming_pattern(data.hidden_labels, data.other_names)

    def is_allowed(text: str) -> bool:
        return pattern is None or pattern.search(text) is None

    captions = tuple(caption if caption and is_allowed(caption) else None for caption in split.captions)
    names = [
        name
        for name in unique(name for path in data.label_lists for name in read_label_list(path))
        if is_allowed(name)
    ]
    if not names:
        raise DataError("there are no names to distil: set `data.label_lists` to at least one file of names")
    return Supervision(
        image_paths=split.image_paths,
        label_names=tuple(split.label_names[index] for index in trained),
        labels=torch.from_numpy(split.labels[:, trained]),
        captions=captions,
        has_caption=torch.tensor([caption is not None for caption in captions]),
        names=names,
    )


def unrelated_names(data: DataConfig, label_names: Sequence[str]) -> list[str]:
    """Names in the label lists that do not name any of `label_names`; they serve as distractors."""
    pattern = naming_pattern(label_names, data.other_names)
    names = unique(name for path in data.label_lists for name in read_label_list(path))
    return [name for name in names if pattern is None or pattern.search(name) is None]
