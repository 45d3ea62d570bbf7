"""Mirroring depends only on the draw, and half of the photographs are mirrored."""

from pathlib import Path

import torch

from sigrl.model.config import Preprocessing
from sigrl.training.data.batches import Draw
from sigrl.training.data.coco import read_coco
from sigrl.training.tasks.single_positive.data import FlippedPhotographs


def test_flip_is_determined_by_the_draw_seed(coco_root: Path) -> None:
    photographs = read_coco(coco_root, "train2014")
    data = FlippedPhotographs(photographs, Preprocessing(image_size=32))
    drawn = [data[Draw(3, seed)] for seed in range(40)]
    assert {row for _, row in drawn} == {3}
    straight, mirrored = drawn[0][0], drawn[0][0].flip(-1)
    assert not torch.equal(straight, mirrored)
    kinds = [torch.equal(pixels, straight) for pixels, _ in drawn]
    assert all(kind or torch.equal(pixels, mirrored) for kind, (pixels, _) in zip(kinds, drawn, strict=True))
    assert 8 < sum(kinds) < 32
    assert torch.equal(data[Draw(3, 0)][0], straight)
    assert len(data) == len(photographs)
