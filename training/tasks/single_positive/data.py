"""The photographs of a single-positive run: official splits, published draws, and problems with the files."""

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from sigrl.model.config import Preprocessing
from sigrl.training.backbones.features import read_photograph
from sigrl.training.data.batches import Draw
from sigrl.training.data.check import DataReport, check, compare_with_protocol, usable
from sigrl.training.data.coco import read_coco
from sigrl.training.data.dataset import LabelledPhotographs
from sigrl.training.data.single_positive import (
    SinglePositive,
    in_published_order,
    split_published_draw,
    split_single_positive,
)
from sigrl.training.data.voc import read_voc
from sigrl.training.tasks.single_positive.config import CocoData, SinglePositiveConfig, VocData

PHOTOGRAPHS = {"voc": (5_717, 5_823), "coco": (82_081, 40_137)}
"""Photographs with a label: for training and validation together, and for the test."""


class FlippedPhotographs(Dataset[tuple[Tensor, int]]):
    """Training photographs, uncropped and mirrored half of the time: pixel values [3, S, S] of a `Draw`,
    and its row. The task keeps the labels, because what is known about them changes between epochs."""

    def __init__(self, photographs: LabelledPhotographs, preprocessing: Preprocessing) -> None:
        self._paths = photographs.image_paths
        self._preprocessing = preprocessing

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, draw: Draw) -> tuple[Tensor, int]:
        pixel_values = read_photograph(self._paths[draw.photograph], self._preprocessing)
        if np.random.default_rng(draw.seed).random() < 0.5:
            pixel_values = np.ascontiguousarray(pixel_values[:, :, ::-1])
        return torch.from_numpy(pixel_values), draw.photograph


@dataclass(frozen=True)
class SinglePositiveData:
    """The photographs that a run is trained, validated and tested on."""

    splits: SinglePositive
    test: LabelledPhotographs
    """The photographs with a positive label in the official validation split."""
    skipped: dict[str, int]
    """Kind of problem -> number of photographs."""

    @property
    def fingerprint(self) -> str:
        """A hash of the training and validation photographs and the observed labels."""
        digest = hashlib.sha256()
        for part in (self.splits.train, self.splits.validation):
            digest.update("\n".join(part.ids or ()).encode() + b"\n\n")
            digest.update(np.ascontiguousarray(part.labels).tobytes())
        return digest.hexdigest()


def read_splits(data: VocData | CocoData) -> tuple[SinglePositive, LabelledPhotographs]:
    """Labels of all parts, as published, whether the files exist or not. Raises DataError."""
    if isinstance(data, VocData):
        return split_single_positive(read_voc(data.root, "train")), _test(read_voc(data.root, "val"))
    train, test = read_coco(data.root, data.train_split), read_coco(data.root, data.test_split)
    if data.draw is None:
        return split_single_positive(train), _test(test)
    instances = Path(data.root) / "annotations" / f"instances_{data.train_split}.json"
    return split_published_draw(train, data.draw, instances), _test(test)


def load_single_positive(config: SinglePositiveConfig) -> SinglePositiveData:
    """Checks every photograph before training. Skipped photographs do not change the parts and labels of the
    others. Raises DataError for the first photograph that cannot be used."""
    splits, test = read_splits(config.data)
    skipped: Counter[str] = Counter()

    def rows(photographs: LabelledPhotographs) -> np.ndarray:
        decode = config.check == "decode"
        kept = set(usable(photographs, decode=decode, bad_data=config.bad_data, skipped=skipped).ids or ())
        return np.array([one in kept for one in photographs.ids or ()])

    train = rows(splits.train)
    used = SinglePositive(
        splits.train.select(train),
        splits.complete_train.select(train),
        splits.validation.select(rows(splits.validation)),
    )
    return SinglePositiveData(used, test.select(rows(test)), dict(skipped))


def check_single_positive(config: SinglePositiveConfig) -> dict[str, DataReport]:
    """The problems with each part, and its known labels. Raises DataError for files that cannot be read at
    all."""
    parts = _named(*read_splits(config.data))
    reports = {name: check(part, decode=config.check == "decode") for name, part in parts}
    protocol = "VOC 2012" if config.data.kind == "voc" else "COCO 2014"
    trained, tested = PHOTOGRAPHS[config.data.kind]
    found = reports["train"].photographs + reports["validation"].photographs
    reports["train"].warnings += compare_with_protocol(found, f"{protocol} with validation", trained)
    reports["test"].warnings += compare_with_protocol(reports["test"].photographs, protocol, tested)
    return reports


def held_out_photographs(config: SinglePositiveConfig) -> LabelledPhotographs:
    """The usable test photographs."""
    _, test = read_splits(config.data)
    return usable(test, decode=False, bad_data=config.bad_data)


def _named(splits: SinglePositive, test: LabelledPhotographs) -> Iterator[tuple[str, LabelledPhotographs]]:
    yield "train", splits.train
    yield "validation", splits.validation
    yield "test", test


def _test(photographs: LabelledPhotographs) -> LabelledPhotographs:
    return in_published_order(photographs)
