"""Where on a photograph a label is, by its scores on the grid of patches: boxes and crops for TagCLIP.

As in the published code, no box reaches into the last row or the last column.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

_LEVELS = 255
_HALF = 0.5


class Crop(NamedTuple):
    """A rectangle of patches around a label, rows before columns."""

    top: int
    left: int
    bottom: int
    """The first row below it."""
    right: int
    """The first column beyond it."""
    seen: Tensor
    """[h, w]: which patches show the label, if the crop is stretched to the whole grid."""


def boxes(scores: Tensor) -> Tensor:
    """Marks boxes [N, h, w] on N maps of scores [N, h, w]: for each group of touching patches above the map's
    mean, the smallest rectangle around it. Patches touch at corners, too."""
    stretched = _stretch(scores)
    # The published code compares in 256 levels.
    levels = (stretched * _LEVELS).floor()
    return _fill(levels > (stretched.mean(dim=(1, 2), keepdim=True) * _LEVELS).floor())


def crop(scores: Tensor) -> Crop | None:
    """The rectangle around all patches whose score lies in the upper half of a map's range [h, w]; None if
    nothing is left of it without the last row and column."""
    height, width = scores.shape
    shows = _stretch(scores[None])[0] > _HALF
    if not shows.any():
        return None
    rows, columns = shows.any(dim=1).nonzero()[:, 0], shows.any(dim=0).nonzero()[:, 0]
    top, left = int(rows[0]), int(columns[0])
    bottom, right = min(int(rows[-1]) + 1, height - 1), min(int(columns[-1]) + 1, width - 1)
    if top >= bottom or left >= right:
        return None
    inner = shows[top:bottom, left:right].float()[None, None]
    stretched = functional.interpolate(inner, size=(height, width), mode="nearest")
    return Crop(top, left, bottom, right, stretched[0, 0] > _HALF)


def _stretch(scores: Tensor) -> Tensor:
    """Maps [N, h, w] with their range stretched to 0..1; zeros for a map that is the same everywhere."""
    above = scores - scores.amin(dim=(1, 2), keepdim=True)
    return above / above.amax(dim=(1, 2), keepdim=True).clamp(min=torch.finfo(scores.dtype).tiny)


def _fill(inside: Tensor) -> Tensor:
    """The rectangles around the groups of `inside` [N, h, w]."""
    count, height, width = inside.shape
    place = torch.arange(height * width, device=inside.device)
    # The highest place of a group is its number, which spreads from patch to patch.
    group = torch.where(inside, place.view(height, width).float(), -1)
    while True:
        spread = torch.where(inside, functional.max_pool2d(group, 3, 1, 1), -1)
        if torch.equal(spread, group):
            break
        group = spread
    number = torch.where(inside, group, place.view(height, width)).long().flatten(1)

    def reach(coordinate: Tensor, reduction: str) -> Tensor:
        every = coordinate.expand_as(number)
        return torch.zeros_like(number).scatter_reduce(1, number, every, reduction, include_self=False)

    row, column = place // width, place % width
    top, bottom = reach(row, "amin"), (reach(row, "amax") + 1).clamp(max=height - 1)
    left, right = reach(column, "amin"), (reach(column, "amax") + 1).clamp(max=width - 1)
    # A rectangle is +1 from its first corner on and -1 after its edges, summed over rows and columns.
    is_group = ((number == place) & inside.flatten(1)).float()
    steps = torch.zeros_like(is_group)
    for edge, side, sign in ((top, left, 1), (top, right, -1), (bottom, left, -1), (bottom, right, 1)):
        steps.scatter_add_(1, edge * width + side, sign * is_group)
    return steps.view(count, height, width).cumsum(dim=1).cumsum(dim=2) > _HALF
