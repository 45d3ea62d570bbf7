"""Which photographs a step sees, and with which random numbers, as functions of the seed and the position.

Nothing of it is state: a run that is resumed in the middle of an epoch, with another number of workers or
processes, sees what the run that was never interrupted sees.
"""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch

from sigrl.training.data.dataset import DataError


class Draw(NamedTuple):
    """What a training data set is asked for."""

    photograph: int
    """Its index in the data set."""
    seed: int
    """Of its augmentation in this epoch."""


class Split(NamedTuple):
    """How the photographs of one step are shared out: over `passes` one after another, in `processes`."""

    batch_size: int
    """Photographs of a step, over all passes and processes."""
    passes: int
    processes: int
    process: int


def derive_seed(*parts: int) -> int:
    """A seed (32 bits) for whatever `parts` name; different parts, unrelated random numbers."""
    # With their number: to NumPy, zeros at the end are nothing.
    return int(np.random.SeedSequence((len(parts), *parts)).generate_state(1)[0])


def count_steps(photographs: int, batch_size: int) -> int:
    """Steps of an epoch; what is left of it is dropped. Raises DataError when there is not one."""
    if photographs < batch_size:
        raise DataError(f"{photographs} photographs make no batch of {batch_size}: lower `batch_size`")
    return photographs // batch_size


def epoch_draws(
    photographs: int, split: Split, seed: int, epoch: int, first_step: int = 0
) -> Iterator[list[Draw]]:
    """What one process sees in an epoch, pass by pass, from `first_step` on.

    Raises ValueError when the photographs of a step cannot be shared out evenly.
    """
    if split.batch_size % (split.passes * split.processes):
        raise ValueError(
            f"a batch of {split.batch_size} cannot be shared out over {split.passes} passes in "
            f"{split.processes} processes: choose a `batch_size` that both divide"
        )
    order = np.random.default_rng([seed, epoch]).permutation(photographs)
    steps = count_steps(photographs, split.batch_size)
    shared = order[: steps * split.batch_size].reshape(steps, split.passes, split.processes, -1)
    for step in range(first_step, steps):
        for indices in shared[step, :, split.process].tolist():
            yield [Draw(index, derive_seed(seed, epoch, index)) for index in indices]


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Within the block, `random`, NumPy and torch (on the CPU) draw from `seed`; afterwards as if nothing had
    been drawn. Augmentations use all three."""
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
