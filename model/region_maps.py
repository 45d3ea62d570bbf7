"""Shows which regions of a photograph raise or lower an evidence head's score. Imports without torch."""

from typing import NamedTuple

import numpy as np

from sigrl.model.evidence import Array, Evidence, Photographs
from sigrl.model.features import POOL


class Regions(NamedTuple):
    """The image tower's output for each of the R regions of B photographs, as if the region were a whole
    photograph. Regions are squares of `POOL` x `POOL` patches, row by row."""

    embeddings: Array
    """[B, R, D]"""
    tokens: Array
    """[B, R, D]: the mean of the region's patch tokens."""
    word_logits: Array
    """[B, R, K + classes]"""


def region_maps(
    evidence: Evidence, regions: Regions, unit: Array, rows: Array | None, grid: tuple[int, int]
) -> Array:
    """The score that each region would have as a photograph of its own: calibrated logits [B, C, h', w'] of
    labels with embeddings `unit` [C, D] and `rows` [C, width]; `grid` is the patch grid (height, width).

    All terms of the score count, each with its sign: a region with a positive logit supports the label, and
    one with a negative logit opposes it. Cosines of the patch tokens do not show this, because most of a
    known word's score is the word's own logit, which does not come from the tokens.
    """
    height, width = grid[0] // POOL, grid[1] // POOL
    alone = Photographs(
        regions.embeddings.reshape(-1, regions.embeddings.shape[2]),
        regions.tokens.reshape(-1, 1, regions.tokens.shape[2]),
        regions.word_logits.reshape(-1, regions.word_logits.shape[2]),
    )
    scores = evidence.score(alone, unit, rows).reshape(-1, height, width, len(unit))
    return np.ascontiguousarray(np.moveaxis(scores, 3, 1))
