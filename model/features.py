"""The features that the towers and the label side pass to a head, as tensors of PyTorch or arrays of NumPy.
Imports without torch."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic

import numpy as np
import numpy.typing as npt
from typing_extensions import TypeVar

if TYPE_CHECKING:
    from torch import Tensor

POOL = 2
"""The evidence head matches the means of squares of `POOL` x `POOL` patch tokens."""
ArrayT = TypeVar("ArrayT", default="Tensor")
"""`Tensor`, or `npt.NDArray[np.float32]` in an engine without PyTorch."""


@dataclass(frozen=True)
class ImageFeatures(Generic[ArrayT]):
    """A batch of photographs in the joint space, independent of labels."""

    image_embeddings: ArrayT
    """[B, D]: the projected class token (or pooled feature)."""
    patch_tokens: ArrayT
    """[B, P, D]: the projected patch tokens, row by row of the grid."""
    grid: tuple[int, int]
    """Height and width of the patch grid; their product is P."""
    rebuilt_tokens: ArrayT | None = None
    """[B, P, D]: the patch tokens as the head rebuilds them, if that depends on the photograph alone (see
    `MatchingHead.rebuilder`). Computed once, they serve every label set. None: the head computes them."""
    word_logits: ArrayT | None = None
    """[B, K + classes]: a word tower's logits of its known words, then of its classifier's classes."""
    region_features: ArrayT | None = None
    """[B, R, 2 F]: a word tower's features of each region, row by row. A region is a square with
    `POOL` positions on each side. `WordTower.read_regions` turns them into an explanation."""
    affinities: ArrayT | None = None
    """[B, P, P]: how much each patch (rows) attends to each other one, for a tagclip head. See
    `sigrl.model.attention_tower`."""
    pixel_values: npt.NDArray[np.float32] | None = None
    """[B, 3, S, S]: the tower's input, for a head that matches whole photographs alone, where
    `Engine.explain` computes how a score falls without a part of the photograph, and for a tagclip head,
    which crops it."""


@dataclass(frozen=True)
class LabelFeatures(Generic[ArrayT]):
    """A label set as the input of a head: computed once per vocabulary, used for every photograph."""

    label_embeddings: ArrayT
    """[C, D]: raw, from the text tower."""
    refined: ArrayT
    """[C, D]: after GMC. In the context form these enter the final product, with unit norm."""
    refined_context: ArrayT | None = None
    """[K, D]: the head's own context labels after GMC. They do not depend on the label set; they are included
    so that GMC need not run for every photograph. None: the head computes them if needed."""
    calibration: npt.NDArray[np.float32] | None = None
    """[C, 3]: see `sigrl.model.calibration.LabelCalibration`. Added by an engine; heads do not use it."""
    background: npt.NDArray[np.float32] | None = None
    """[C, N]: logits on the checkpoint's background set of N photographs. Added by an engine too."""
    evidence: npt.NDArray[np.float32] | None = None
    """[C, width]: an evidence head's facts about each label, see `sigrl.model.evidence`; a piaa head's
    classifier; for a tagclip head, which names of the background are the label's own."""


def unit_norm(features: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Scales [..., D] to unit norm."""
    norms = np.linalg.norm(features, axis=-1, keepdims=True)
    normalized: npt.NDArray[np.float32] = features / np.maximum(norms, np.float32(1e-12))
    return normalized


def pool_tokens(tokens: npt.NDArray[np.float32], grid: tuple[int, int]) -> npt.NDArray[np.float32]:
    """Averages the tokens [B, P, D] of a grid over squares of `POOL` x `POOL`: [B, P', D]. Tokens left over
    at the right and at the bottom are not used. Raises ValueError for a grid without a square."""
    height, width = grid[0] // POOL, grid[1] // POOL
    if not height * width:
        raise ValueError(f"a grid of {grid[0]} x {grid[1]} tokens has no square of {POOL} x {POOL}")
    maps = tokens.reshape(len(tokens), *grid, tokens.shape[2])[:, : height * POOL, : width * POOL]
    squares = maps.reshape(len(tokens), height, POOL, width, POOL, tokens.shape[2])
    pooled: npt.NDArray[np.float32] = squares.mean(axis=(2, 4)).reshape(
        len(tokens), height * width, tokens.shape[2]
    )
    return pooled
