"""Work in blocks of a bounded size, so that memory does not grow with the number of labels."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint


def block_slices(length: int, bytes_per_item: int, budget: int) -> Iterator[slice]:
    """Cuts `range(length)` into equal slices whose items together take at most `budget` bytes (at least one
    item a slice)."""
    most = max(1, budget // max(1, bytes_per_item))
    blocks = -(-length // most)
    size = -(-length // max(1, blocks))
    for start in range(0, length, max(1, size)):
        yield slice(start, min(start + size, length))


def run_block(function: Callable[..., Tensor], *arguments: Tensor, alone: bool) -> Tensor:
    """`function(*arguments)`; in training its intermediates are dropped and computed again in the backward
    pass, unless the block is `alone`: then they fit the budget as they are."""
    if alone or not torch.is_grad_enabled():
        return function(*arguments)
    result: Tensor = checkpoint(function, *arguments, use_reentrant=False)
    return result
