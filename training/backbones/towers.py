"""Towers in training: split into frozen stages and the rest, and transformers run layer by layer."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


def split_trunk(trunk: nn.Module, frozen_blocks: int) -> tuple[nn.Sequential, nn.Sequential]:
    """(frozen stages, the rest up to the feature map) of a timm EfficientNet."""
    stem = nn.Sequential(trunk.conv_stem, trunk.bn1, *trunk.blocks[:frozen_blocks])
    return stem, nn.Sequential(*trunk.blocks[frozen_blocks:], trunk.conv_head, trunk.bn2)


def keep_statistics(module: nn.Module) -> None:
    """Puts the batch norms in `module` into evaluation mode: they use the statistics that they have, and keep
    them."""
    for one in module.modules():
        if isinstance(one, nn.modules.batchnorm._BatchNorm):
            one.eval()


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
