"""Texts through an encoder, and photographs that cannot be read."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from sigrl.model.config import Preprocessing
from sigrl.training.backbones.features import read_photograph, text_features
from sigrl.training.data.dataset import DataError


def test_unreadable_image_is_reported_by_name(tmp_path: Path) -> None:
    path = tmp_path / "broken.jpg"
    path.write_bytes(b"\xff\xd8\xff")
    with pytest.raises(DataError, match=r"broken\.jpg cannot be decoded"):
        read_photograph(path, Preprocessing(image_size=16))


def test_text_features_keep_the_order_of_the_texts() -> None:
    texts = [f"{'x' * (number % 7)}{number}" for number in range(600)]
    batches = []

    def encode(batch: list[str]) -> Tensor:
        batches.append(len(batch))
        return torch.tensor([[float(text.lstrip("x"))] for text in batch])

    assert text_features(encode, texts, "test").flatten().tolist() == list(range(600))
    assert max(batches) == 256
