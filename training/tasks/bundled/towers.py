"""Outputs of the image tower, computed from the cached outputs of its frozen stages."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from sigrl.model.backbone import Backbone
from sigrl.model.features import POOL
from sigrl.model.word_tower import WordTower
from sigrl.training.backbones.feature_cache import image_features
from sigrl.training.backbones.towers import split_trunk
from sigrl.training.tasks.bundled.config import PretrainConfig
from sigrl.training.terminal import progress_bar


def feature_maps(
    backbone: Backbone, paths: Sequence[Path], settings: PretrainConfig, cache: Path
) -> Iterator[Tensor]:
    """The image tower's last features [batch, P, F], in order, computed from the cached frozen stages."""
    stem, rest = split_trunk(
        backbone.visual.trunk.to(memory_format=torch.channels_last), settings.frozen_blocks
    )
    stem_outputs = torch.from_numpy(
        image_features(paths, settings.preprocessing, stem, stem, cache, "frozen stages of the image tower")
    )
    with progress_bar() as progress:
        task = progress.add_task("image tower", total=len(paths), note="")
        for batch in stem_outputs.split(64):
            with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
                features = rest(batch.float().contiguous(memory_format=torch.channels_last))
            yield features.float().flatten(2).mT
            progress.update(task, advance=len(batch))


@torch.inference_mode()
def tower_outputs(backbone: Backbone, paths: Sequence[Path], settings: PretrainConfig, cache: Path) -> Tensor:
    """Image embedding and patch tokens [N, 1 + P, D], float16, of a tower with a linear projection, or of a
    word tower; its tokens are the means of 2 x 2 positions that its own head matches."""
    if isinstance(backbone.visual, WordTower):
        compute = partial(_word_outputs, backbone)
        found = image_features(paths, settings.preprocessing, compute, backbone.visual, cache, "image tower")
        return torch.from_numpy(found)
    parts = []
    for features in feature_maps(backbone, paths, settings, cache):
        tokens = backbone.visual.head(features)
        parts.append(torch.cat([tokens.mean(1, keepdim=True), tokens], dim=1).half())
    return torch.cat(parts).clone()


def _word_outputs(backbone: Backbone, pixel_values: Tensor) -> Tensor:
    features = backbone.encode_images(pixel_values)
    maps = features.patch_tokens.mT.unflatten(2, features.grid)
    tokens = functional.avg_pool2d(maps, POOL).flatten(2).mT
    return torch.cat([features.image_embeddings[:, None], tokens], dim=1)
