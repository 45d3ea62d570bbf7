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


@contextmanager
def without_projection(backbone: Backbone) -> Iterator[None]:
    """Within the block, the image tower returns its features [., F] from before the projection. A tower that
    has none (CLIP's ResNets, SigLIP) returns its embeddings."""
    name = _place(backbone)
    if name is None:
        yield
        return
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
    projection = _projection(backbone)
    projected = features @ projection if isinstance(projection, nn.Parameter) else projection(features)
    return ImageFeatures(projected[:, 0], projected[:, 1:], grid)


def projection_parameters(backbone: Backbone) -> list[nn.Parameter]:
    """The image tower's parameters that are trained when the rest is frozen. A tower that pools by attention
    may have none."""
    projection = _projection(backbone)
    return [projection] if isinstance(projection, nn.Parameter) else list(projection.parameters())


def _projection(backbone: Backbone) -> nn.Parameter | nn.Module:
    name = _place(backbone)
    projection: nn.Parameter | nn.Module = nn.Identity() if name is None else getattr(backbone.visual, name)
    return projection


def _place(backbone: Backbone) -> str | None:
    if isinstance(backbone.visual, WordTower):
        return "projection"
    return projection_name(backbone.visual)
