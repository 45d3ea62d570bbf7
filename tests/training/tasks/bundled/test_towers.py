"""The image tower in two parts computes the same as the whole."""

from pathlib import Path

import numpy as np
import pytest
import torch

from sigrl.model.bundle import TaggingModel, load_bundle
from sigrl.training.backbones.features import read_photograph
from sigrl.training.backbones.towers import split_trunk
from sigrl.training.tasks.bundled.config import TrainingConfig
from sigrl.training.tasks.bundled.towers import tower_outputs


@pytest.mark.parametrize("frozen_blocks", [0, 3, 5])
def test_split_trunk_equals_the_whole_trunk(tiny_model: TaggingModel, frozen_blocks: int) -> None:
    trunk = tiny_model.backbone.visual.trunk
    pixel_values = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    stem, rest = split_trunk(trunk, frozen_blocks)
    with torch.inference_mode():
        torch.testing.assert_close(rest(stem(pixel_values)), trunk.forward_features(pixel_values))


def test_cached_outputs_match_the_backbone(
    config: TrainingConfig, towers: Path, coco_root: Path, cache: Path
) -> None:
    """Equal up to the rounding of bfloat16 and float16."""
    backbone = load_bundle(towers).model.backbone
    paths = sorted((coco_root / "val2014").iterdir())
    outputs = tower_outputs(backbone, paths, config.pretrain, cache)
    assert outputs.shape == (24, 1 + 4, 32)
    assert outputs.dtype == torch.float16

    pixel_values = np.stack([read_photograph(path, config.pretrain.preprocessing) for path in paths])
    with torch.inference_mode():
        features = backbone.encode_images(torch.from_numpy(pixel_values))
    expected = torch.cat([features.image_embeddings.unsqueeze(1), features.patch_tokens], dim=1)
    cosine = torch.cosine_similarity(outputs.float(), expected, dim=-1)
    assert cosine.min() > 0.995
    error = (outputs.float() - expected).norm(dim=-1) / expected.norm(dim=-1)
    assert error.max() < 0.1
