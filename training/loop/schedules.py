"""Learning rates by step, and by the depth of a parameter in the image tower."""

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from torch import nn
from torch.optim import Optimizer


def half_cosine(warm_up: int, total: int, floor: float = 0.0) -> Callable[[int], float]:
    """Factor by step: linear warm-up, then half a cosine from 1 down to `floor`."""

    def factor(step: int) -> float:
        cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, step / total)))
        return min(1.0, (step + 1) / warm_up) * (floor + (1 - floor) * cosine)

    return factor


@dataclass(frozen=True)
class WarmUpCosine:
    """The open-vocabulary protocol's rate: a linear warm-up from 0, then half a cosine down to a floor.

    It is a function of the position alone, so a resumed run needs only its step.
    """

    rate: float = 1e-4
    """The rate at the end of the warm-up."""
    floor: float = 1e-7
    """The rate at the end of the run, and after it."""
    warm_up_epochs: float = 2
    epochs: float = 20

    def at(self, position: float) -> float:
        """The rate at a position in epochs: the epoch's number plus the share of its steps that are done."""
        if position < self.warm_up_epochs:
            return self.rate * position / self.warm_up_epochs
        position = min(position, self.epochs)
        # This order of operations gives the published last digit too.
        angle = math.pi * (position - self.warm_up_epochs) / (self.epochs - self.warm_up_epochs)
        return self.floor + (self.rate - self.floor) * 0.5 * (1.0 + math.cos(angle))

    def apply(self, optimizer: Optimizer, position: float) -> float:
        """Sets the rate of every group, times its `lr_scale` if it has one; returns the rate itself."""
        rate = self.at(position)
        for group in optimizer.param_groups:
            group["lr"] = rate * group.get("lr_scale", 1.0)
        return rate


@dataclass(frozen=True)
class ConstantRate:
    """The single-positive protocol's rate, which is constant."""

    rate: float

    def apply(self, optimizer: Optimizer, position: float) -> float:  # noqa: ARG002
        """Sets the rate of every group, times its `lr_scale` if it has one; returns the rate itself."""
        for group in optimizer.param_groups:
            group["lr"] = self.rate * group.get("lr_scale", 1.0)
        return self.rate


def layer_decay_groups(
    parameters: Iterable[tuple[str, nn.Parameter]],
    blocks: int,
    frozen_layers: int = 10,
    layer_decay: float = 0.65,
    weight_decay: float = 0.05,
) -> list[dict[str, Any]]:
    """Parameter groups for AdamW: each layer of the image tower learns at `layer_decay` of the rate above it.

    Layer 0 is everything before the tower's first block, layer i its i-th block, and the layer after the last
    block (scale 1) everything else: the last norm, the pool, the projection, the head. A tower without blocks
    (CLIP's ResNets, ConvNeXt) is layer 0 up to its pool. Layers up to `frozen_layers` are frozen, but never
    the last: their gradients are switched off here. Vectors and scalars get no weight decay.

    Args:
        parameters: names and parameters. The names are those of `Backbone` and the heads, of timm's ViT, or
            of the published code. If one parameter has two names, the first counts; parameters without
            gradient, such as a frozen text tower's, are left out.
        blocks: the number of blocks in the image tower; 0 for a tower without blocks.
        frozen_layers: -1 trains all layers.

    Returns:
        Groups with the keys `params`, `lr_scale` and `weight_decay`. AdamW keeps `lr_scale`, and
        `WarmUpCosine.apply` uses it.
    """
    groups: dict[tuple[int, bool], dict[str, Any]] = {}
    seen: set[int] = set()
    for name, parameter in parameters:
        if not parameter.requires_grad or id(parameter) in seen:
            continue
        seen.add(id(parameter))
        layer = _layer(name, blocks)
        if layer <= min(frozen_layers, blocks):
            parameter.requires_grad_(False)
            continue
        decays = parameter.ndim > 1 or _STORED_AS_VECTOR.search(name) is not None
        group = groups.setdefault(
            (layer, decays),
            {
                "params": [],
                "lr_scale": layer_decay ** (blocks + 1 - layer),
                "weight_decay": weight_decay if decays else 0.0,
            },
        )
        group["params"].append(parameter)
    return list(groups.values())


_BLOCK = re.compile(r"^(?:.*\.)?(?:transformer\.resblocks|blocks)\.(\d+)\.")
_PATCH_EMBEDDING = re.compile(r"(?:^|\.)patch_embed\.")
_BEFORE_BLOCKS = re.compile(
    r"^(?:.*\.)?(?:class_embedding|positional_embedding|(?:cls|reg)_token|pos_embed"
    r"|(?:conv1|ln_pre|norm_pre|conv_stem|trunk\.bn1)\..+)$"
)
_BEFORE_POOL = re.compile(r"(?:^|\.)visual\.(?!(?:trunk\.)?(?:attnpool|attn_pool|head)\.)")
_OF_TEXT_TOWER = re.compile(r"(?:^|\.)text\.")
_STORED_AS_VECTOR = re.compile(r"(?:^|\.)graph\.(?:hidden|output)\.attention$")
"""The published code stores it as a matrix with one row, which decays."""


def _layer(name: str, blocks: int) -> int:
    if _OF_TEXT_TOWER.search(name):
        return blocks + 1
    if blocks == 0:
        return 0 if _BEFORE_POOL.search(name) else 1
    # ViTamin's patch embedding contains modules named `blocks`, which are not blocks of the tower.
    if _PATCH_EMBEDDING.search(name):
        return 0
    # A block may contain a module with a name of `_BEFORE_BLOCKS`, such as `conv1`.
    if block := _BLOCK.match(name):
        return int(block[1]) + 1
    return 0 if _BEFORE_BLOCKS.match(name) else blocks + 1
