"""What is wrong with a list of labels, before anything is tagged with it. Imports without torch."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sigrl.model.calibration import Array

ALWAYS = 0.9
"""Share of everyday photographs from which on a label is one that always fires."""
NEAR_COSINE = 0.95
"""Cosine of two labels' texts from which on they are near duplicates."""
SAME_CORRELATION = 0.98
"""Correlation of two labels' scores from which on a checkpoint cannot tell them apart."""
MOST_PAIRS = 1000
"""Pairs reported of each kind, the closest first."""
_BLOCK = 512


@dataclass(frozen=True)
class LabelPair:
    """Two labels that a checkpoint hardly tells apart."""

    first: str
    second: str
    similarity: float
    """Cosine or correlation."""


@dataclass(frozen=True)
class Hygiene:
    """Labels to look at; all lists may be empty."""

    never: tuple[str, ...]
    """On no photograph of the background set is the label present: too rare, or unknown to the checkpoint."""
    always: tuple[str, ...]
    """It is present on nearly all of them, and tells nothing."""
    near_duplicates: tuple[LabelPair, ...]
    """Their texts are nearly the same to the text tower: one may be a synonym of the other."""
    indistinguishable: tuple[LabelPair, ...]
    """Their scores rise and fall together on the background set, whatever the texts."""


def hygiene(
    names: Sequence[str], label_embeddings: Array, background: Array, present: npt.NDArray[np.bool_]
) -> Hygiene:
    """Of C labels: text features [C, D], logits on the background set and whether they make the label present
    [N, C]. Where N is 0, only near-duplicates are found."""
    fires = present.mean(axis=0) if len(present) else np.full(len(names), np.nan)
    return Hygiene(
        never=tuple(name for name, share in zip(names, fires, strict=True) if share == 0),
        always=tuple(name for name, share in zip(names, fires, strict=True) if share >= ALWAYS),
        near_duplicates=_pairs(names, label_embeddings, NEAR_COSINE),
        indistinguishable=_pairs(names, _centred(background).T, SAME_CORRELATION),
    )


def _centred(background: Array) -> Array:
    mean = background.mean(axis=0) if len(background) else np.float32(0)
    centred: Array = background - mean
    return centred


def _pairs(names: Sequence[str], rows: Array, least: float) -> tuple[LabelPair, ...]:
    """The pairs of `rows` [C, ...] with a cosine of at least `least`, the closest first."""
    unit = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    found: list[tuple[float, int, int]] = []
    for start in range(0, len(unit), _BLOCK):
        cosines = unit[start : start + _BLOCK] @ unit[start:].T
        for row, column in np.argwhere(np.triu(cosines, 1) >= least):
            found.append((float(cosines[row, column]), start + int(row), start + int(column)))
        found = sorted(found, key=lambda pair: -pair[0])[:MOST_PAIRS]
    return tuple(LabelPair(names[first], names[second], cosine) for cosine, first, second in found)
