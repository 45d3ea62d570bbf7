"""Which photographs a step sees, and with which random numbers, as functions of the seed and the position.

None of this is state: a run that is resumed in the middle of an epoch, even with another number of workers or
processes, sees exactly what an uninterrupted run sees.
"""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch

from sigrl.training.data.dataset import DataError


class Draw(NamedTuple):
    """One request to a training data set."""

    photograph: int
    """Index of the photograph in the data set."""
    seed: int
    """Seed of the photograph's augmentation in this epoch."""


class Split(NamedTuple):
    """How the photographs of one step are divided: into `passes` run one after another, in each of
    `processes`."""

    batch_size: int
    """Photographs per step, over all passes and processes."""
    passes: int
    processes: int
    process: int


def derive_seed(*parts: int) -> int:
    """A 32-bit seed derived from `parts`; different parts give unrelated random numbers."""
    # The number of parts is included because NumPy ignores trailing zeros.
    return int(np.random.SeedSequence((len(parts), *parts)).generate_state(1)[0])


def count_steps(photographs: int, batch_size: int) -> int:
    """Number of steps in an epoch; the remainder is dropped. Raises DataError if there is not a single
    step."""
    if photographs < batch_size:
        raise DataError(f"{photographs} photographs do not fill a batch of {batch_size}: lower `batch_size`")
    return photographs // batch_size


def epoch_draws(
    photographs: int, split: Split, seed: int, epoch: int, first_step: int = 0
) -> Iterator[list[Draw]]:
    """The draws of one process in an epoch, pass by pass, from `first_step` on.

    Raises ValueError when the photographs of a step cannot be divided evenly.
    """
    if split.batch_size % (split.passes * split.processes):
        raise ValueError(
            f"a batch of {split.batch_size} cannot be divided into {split.passes} passes in "
            f"{split.processes} processes: choose a `batch_size` that is a multiple of their product"
        )
    order = np.random.default_rng([seed, epoch]).permutation(photographs)
    steps = count_steps(photographs, split.batch_size)
    shared = order[: steps * split.batch_size].reshape(steps, split.passes, split.processes, -1)
    for step in range(first_step, steps):
        for indices in shared[step, :, split.process].tolist():
            yield [Draw(index, derive_seed(seed, epoch, index)) for index in indices]


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Within the block, `random`, NumPy and torch (on the CPU) draw from `seed`; afterwards their states are
    restored. Augmentations use all three."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    random.seed(seed)
    np.random.seed(seed)
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])
