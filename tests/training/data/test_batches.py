"""The photographs of a step are a function of the seed and the position."""

import random

import numpy as np
import torch

from sigrl.training.data.batches import Split, derive_seed, epoch_draws, seeded


def photographs(draws) -> list[list[int]]:
    return [[draw.photograph for draw in one] for one in draws]


def test_epoch_is_a_permutation_without_the_incomplete_batch() -> None:
    batches = photographs(epoch_draws(10, Split(3, 1, 1, 0), seed=0, epoch=0))
    assert [len(batch) for batch in batches] == [3, 3, 3]
    assert len({one for batch in batches for one in batch}) == 9
    assert batches != photographs(epoch_draws(10, Split(3, 1, 1, 0), seed=0, epoch=1))


def test_epoch_can_resume_from_any_step() -> None:
    split = Split(4, 2, 1, 0)
    whole = list(epoch_draws(17, split, seed=3, epoch=2))
    assert list(epoch_draws(17, split, seed=3, epoch=2, first_step=3)) == whole[6:]


def test_images_of_a_step_are_split_among_passes_and_processes() -> None:
    (whole,) = epoch_draws(12, Split(12, 1, 1, 0), seed=0, epoch=0)
    shared = [list(epoch_draws(12, Split(12, 2, 3, process), seed=0, epoch=0)) for process in range(3)]
    assert all([len(one) for one in passes] == [2, 2] for passes in shared)
    assert sorted(draw for passes in shared for one in passes for draw in one) == sorted(whole)


def test_augmentation_seed_changes_every_epoch() -> None:
    first, second = (dict(next(epoch_draws(5, Split(5, 1, 1, 0), 0, epoch))) for epoch in (0, 1))
    assert first.keys() == second.keys()
    assert all(first[one] != second[one] for one in first)


def test_derived_seeds_differ_for_different_parts() -> None:
    assert len({derive_seed(*parts) for parts in ((0,), (1,), (1, 0), (0, 1), (0, 0, 1))}) == 5


def test_seeded_block_restores_the_global_random_state() -> None:
    def draw() -> tuple[float, float, float]:
        return random.random(), np.random.rand(), torch.rand(()).item()

    random.seed(0), np.random.seed(0), torch.manual_seed(0)
    expected = draw()
    random.seed(0), np.random.seed(0), torch.manual_seed(0)
    with seeded(5):
        first = draw()
    assert draw() == expected
    with seeded(5):
        assert draw() == first
