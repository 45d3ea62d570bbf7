"""Splits work into blocks of bounded size, so that memory does not grow with the number of labels."""

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

BUDGETS = {"cpu": 16 * 2**20}
"""Bytes of one block's largest tensor, by device type. On a CPU, blocks that fit into the caches are faster
than larger ones, even if training computes them twice."""

ACCELERATOR_BUDGET = 256 * 2**20
"""The same for every other device: enough work per kernel launch."""


def block_slices(length: int, item: Tensor) -> list[slice]:
    """Splits `range(length)` into slices of about equal size, with at least one item each.

    A slice of n items needs a tensor n times as large as `item`; it stays within the budget of its device.
    """
    budget = BUDGETS.get(item.device.type, ACCELERATOR_BUDGET)
    return even_slices(length, budget // max(1, item.numel() * item.element_size()))


def even_slices(length: int, most: int) -> list[slice]:
    """Splits `range(length)` into the fewest slices of about equal size with at most `most` items, and at
    least one item each."""
    blocks = max(1, -(-length // max(1, most)))
    bounds = [length * block // blocks for block in range(blocks + 1)]
    return [slice(start, stop) for start, stop in pairwise(bounds)]


def run_block(function: Callable[..., Tensor], *arguments: Tensor, alone: bool) -> Tensor:
    """`function(*arguments)`. In training its intermediates are dropped and computed again in the backward
    pass, unless the block is `alone`, in which case they fit the budget."""
    if alone or not torch.is_grad_enabled():
        return function(*arguments)
    result: Tensor = checkpoint(function, *arguments, use_reentrant=False)
    return result
