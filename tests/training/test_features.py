"""The cache of frozen modules' outputs."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from sigrl.model.config import Preprocessing
from sigrl.model.preprocess import preprocess
from sigrl.training.backbones.features import image_features, read_photograph, text_features
from sigrl.training.data.dataset import DataError

PREPROCESSING = Preprocessing(image_size=16, resize="squash")


@pytest.fixture
def paths(coco_root: Path) -> list[Path]:
    return sorted((coco_root / "val2014").iterdir())


class Counting:
    """The mean colour of each photograph times a module's weight; counts the photographs."""

    def __init__(self, fail_after: int = 1000) -> None:
        self.module = nn.Linear(1, 1)
        self.photographs = 0
        self.fail_after = fail_after

    def __call__(self, pixel_values: Tensor) -> Tensor:
        self.photographs += len(pixel_values)
        if self.photographs > self.fail_after:
            raise KeyboardInterrupt
        return pixel_values.float().mean((2, 3)) * self.module.weight


def test_what_is_computed_is_computed_once(paths: list[Path], tmp_path: Path) -> None:
    compute = Counting()
    first = image_features(paths, PREPROCESSING, compute, compute.module, tmp_path, "test")
    assert compute.photographs == len(paths)
    assert (first.shape, first.dtype) == ((24, 3), np.float16)
    again = image_features(paths, PREPROCESSING, compute, compute.module, tmp_path, "test")
    assert compute.photographs == len(paths)
    np.testing.assert_array_equal(first, again)


def test_features_are_in_the_order_of_the_paths(paths: list[Path], tmp_path: Path) -> None:
    compute = Counting()
    found = image_features(paths[::-1], PREPROCESSING, compute, compute.module, tmp_path, "test")
    for row, path in zip(found, paths[::-1], strict=True):
        with Image.open(path) as image:
            mean = preprocess(image.convert("RGB"), PREPROCESSING).mean((1, 2))
        np.testing.assert_allclose(row, mean * compute.module.weight.item(), atol=0.02)


def test_other_photographs_weights_or_preprocessing_are_computed_anew(
    paths: list[Path], tmp_path: Path
) -> None:
    compute = Counting()
    image_features(paths, PREPROCESSING, compute, compute.module, tmp_path, "test")
    image_features(paths[:8], PREPROCESSING, compute, compute.module, tmp_path, "test")
    assert compute.photographs == 32
    larger = PREPROCESSING.model_copy(update={"image_size": 32})
    image_features(paths[:8], larger, compute, compute.module, tmp_path, "test")
    assert compute.photographs == 40
    compute.module.weight.data += 1
    image_features(paths[:8], larger, compute, compute.module, tmp_path, "test")
    assert compute.photographs == 48


def test_an_interrupted_run_leaves_nothing(paths: list[Path], tmp_path: Path) -> None:
    compute = Counting(fail_after=32)
    with pytest.raises(KeyboardInterrupt):
        image_features(paths * 2, PREPROCESSING, compute, compute.module, tmp_path, "test")
    assert list(tmp_path.iterdir()) == []
    compute.fail_after = 1000
    assert len(image_features(paths * 2, PREPROCESSING, compute, compute.module, tmp_path, "test")) == 48
    assert len(list(tmp_path.iterdir())) == 1


def test_a_photograph_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    path = tmp_path / "broken.jpg"
    path.write_bytes(b"\xff\xd8\xff")
    with pytest.raises(DataError, match=r"broken\.jpg cannot be decoded"):
        read_photograph(path, PREPROCESSING)
    compute = Counting()
    with pytest.raises(DataError, match=r"broken\.jpg cannot be decoded"):
        image_features([path], PREPROCESSING, compute, compute.module, tmp_path / "cache", "test")


def test_text_features_keep_the_order_of_the_texts() -> None:
    texts = [f"{'x' * (number % 7)}{number}" for number in range(600)]
    batches = []

    def encode(batch: list[str]) -> Tensor:
        batches.append(len(batch))
        return torch.tensor([[float(text.lstrip("x"))] for text in batch])

    assert text_features(encode, texts, "test").flatten().tolist() == list(range(600))
    assert max(batches) == 256
