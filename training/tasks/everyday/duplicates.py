"""Finds copies of a photograph under different names, by content."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image

from sigrl.training.tasks.everyday.photographs import Photograph

HASH_BYTES = 32
_SIDE = 16
_SAME = 25
"""Two copies that were scaled and compressed differently differ by at most this many of 256 bits; two
different photographs differ by about 128."""
_ROWS = 1000


def difference_hash(image: Image.Image) -> npt.NDArray[np.uint8]:
    """[32] bytes: for each of 16 x 16 cells, whether the image grows brighter to the right."""
    grey = np.asarray(image.convert("L").resize((_SIDE + 1, _SIDE), Image.Resampling.BOX))
    return np.packbits(grey[:, 1:] > grey[:, :-1])


def may_be_trained_on(
    photographs: Sequence[Photograph], hashes: npt.NDArray[np.uint8]
) -> npt.NDArray[np.bool_]:
    """[N]: training photographs that are copies neither of held-out photographs nor of better labelled ones.

    `hashes` are [N, 32]. Held-out photographs come first, then dense ones, then COCO's, then all others; a
    photograph is left out if an earlier one is the same.
    """
    order = np.array([_rank(photograph) for photograph in photographs])
    signs = np.unpackbits(hashes, axis=1).astype(np.float32) * 2 - 1
    allowed = order > 0
    for rank in range(1, 4):
        before = signs[order < rank].T
        rows = np.flatnonzero(order == rank)
        for part in np.split(rows, range(_ROWS, len(rows), _ROWS)):
            if before.size and len(part):
                differing = (8 * HASH_BYTES - (signs[part] @ before).max(axis=1)) / 2
                allowed[part] = differing > _SAME
    return allowed


def _rank(photograph: Photograph) -> int:
    if photograph.role != "train":
        return 0
    if photograph.dense:
        return 1
    return 2 if photograph.source == "coco" else 3
