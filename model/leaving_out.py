"""Shows which parts of a photograph raised or lowered a score by leaving each of them out. Imports without
torch."""

from collections.abc import Callable
from itertools import product

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]

GRID = 5
"""Squares in a row and in a column of the photograph."""
_BATCH = 5
"""Photographs that are scored together; it bounds the memory of the image tower."""


def falls(score: Callable[[Array], Array], pixel_values: Array) -> Array:
    """How far each label's score falls without each square of the photographs: [B, C, GRID, GRID].

    A positive number is a square that raised the score, a negative one a square that lowered it. Any head and
    tower can be explained in this way, also where the score comes from the whole photograph alone. A square
    is left out by giving it the photograph's mean colour, as in Zeiler and Fergus (Visualizing and
    Understanding Convolutional Networks, ECCV 2014). It costs `GRID` x `GRID` + 1 passes for each photograph.

    Args:
        score: pixel values [N, 3, S, S] -> scores [N, C].
        pixel_values: [B, 3, S, S], S at least `GRID`.
    """
    return np.stack([_falls_of_one(score, photograph) for photograph in pixel_values])


def _falls_of_one(score: Callable[[Array], Array], photograph: Array) -> Array:
    (whole,) = score(photograph[None])
    mean_colour = photograph.mean(axis=(1, 2), keepdims=True)
    edges = np.linspace(0, photograph.shape[1], GRID + 1).round().astype(int)
    without = np.repeat(photograph[None], GRID * GRID, axis=0)
    for changed, (row, column) in zip(without, product(range(GRID), repeat=2), strict=True):
        changed[:, edges[row] : edges[row + 1], edges[column] : edges[column + 1]] = mean_colour
    scores = [score(without[start : start + _BATCH]) for start in range(0, len(without), _BATCH)]
    fallen: Array = (whole - np.concatenate(scores)).T
    return fallen.reshape(-1, GRID, GRID)
