"""An image tower in two parts: everything before its projection into the joint space, and the projection.

When the first part is frozen, each photograph passes through it only once, and only the small second part is
trained.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from sigrl.model.backbone import Backbone
from sigrl.model.features import ImageFeatures
from sigrl.model.open_clip_towers import projection_name
from sigrl.model.word_tower import WordTower
from sigrl.training.data.dataset import DataError


@contextmanager
def without_projection(backbone: Backbone) -> Iterator[None]:
    """Within the block, the image tower returns its features [., F] from before the projection."""
    name = _place(backbone)
    projection = getattr(backbone.visual, name)
    if isinstance(projection, nn.Parameter):
        identity: nn.Module | nn.Parameter = nn.Parameter(torch.eye(len(projection)), requires_grad=False)
    else:
        identity = nn.Identity()
    setattr(backbone.visual, name, identity)
    try:
        yield
    finally:
        setattr(backbone.visual, name, projection)


def stacked(features: ImageFeatures) -> Tensor:
    """Image embedding and patch tokens as one tensor [B, 1 + P, F]."""
    return torch.cat([features.image_embeddings[:, None], features.patch_tokens], dim=1)


def project(backbone: Backbone, features: Tensor, grid: tuple[int, int]) -> ImageFeatures:
    """The tower's output for its features before the projection, `stacked` [B, 1 + P, F]."""
    projection = getattr(backbone.visual, _place(backbone))
    projected = features @ projection if isinstance(projection, nn.Parameter) else projection(features)
    return ImageFeatures(projected[:, 0], projected[:, 1:], grid)


def projection_parameters(backbone: Backbone) -> list[nn.Parameter]:
    """The image tower's parameters that are trained when the rest is frozen. Raises DataError if there are
    none."""
    projection = getattr(backbone.visual, _place(backbone))
    parameters = [projection] if isinstance(projection, nn.Parameter) else list(projection.parameters())
    if not parameters:
        raise DataError("the image tower of `start` has no projection to train: set `tower: tuned`")
    return parameters


def _place(backbone: Backbone) -> str:
    if isinstance(backbone.visual, WordTower):
        return "projection"
    return projection_name(backbone.visual)
