"""Towers in training: split into frozen stages and the rest, and transformers run layer by layer."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from sigrl.model.backbone import Backbone
from sigrl.training.backbones.features import image_features, progress_bar
from sigrl.training.config import PretrainConfig


def split_trunk(trunk: nn.Module, frozen_blocks: int) -> tuple[nn.Sequential, nn.Sequential]:
    """(frozen stages, the rest up to the feature map) of a timm EfficientNet."""
    stem = nn.Sequential(trunk.conv_stem, trunk.bn1, *trunk.blocks[:frozen_blocks])
    return stem, nn.Sequential(*trunk.blocks[frozen_blocks:], trunk.conv_head, trunk.bn2)


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
    """Image embedding and patch tokens [N, 1 + P, D], float16, of a tower with a linear projection."""
    parts = []
    for features in feature_maps(backbone, paths, settings, cache):
        tokens = backbone.visual.head(features)
        parts.append(torch.cat([tokens.mean(1, keepdim=True), tokens], dim=1).half())
    return torch.cat(parts).clone()


@contextmanager
def without_fused_transformers() -> Iterator[None]:
    """Within the block, PyTorch's transformer layers run unfused in evaluation too, as in training.

    The fused form has no ONNX export and differs in the last bits.
    """
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)
