"""Finds problems in a list of labels before it is used. Imports without torch."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sigrl.model.calibration import Array
from sigrl.model.features import unit_norm

ALWAYS = 0.9
"""A label present on at least this share of everyday photographs counts as one that always fires."""
NEAR_COSINE = 0.95
"""Two labels whose texts have at least this cosine are near duplicates."""
SAME_CORRELATION = 0.98
"""Two labels whose scores have at least this correlation are indistinguishable to a checkpoint."""
MOST_PAIRS = 1000
"""Maximum number of reported pairs of each kind, closest first."""
_BLOCK = 512


@dataclass(frozen=True)
class LabelPair:
    """Two labels that a checkpoint can hardly distinguish."""

    first: str
    second: str
    similarity: float
    """Cosine or correlation."""


@dataclass(frozen=True)
class Hygiene:
    """Labels to look at; all lists may be empty."""

    never: tuple[str, ...]
    """Present on no photograph of the background set: too rare, or unknown to the checkpoint."""
    always: tuple[str, ...]
    """Present on nearly all of them, so it is not informative."""
    near_duplicates: tuple[LabelPair, ...]
    """Their texts are nearly the same to the text tower: one may be a synonym of the other."""
    indistinguishable: tuple[LabelPair, ...]
    """Their scores rise and fall together on the background set, whatever their texts."""


def hygiene(
    names: Sequence[str], label_embeddings: Array, background: Array, present: npt.NDArray[np.bool_]
) -> Hygiene:
    """Checks C labels, given text features [C, D], logits on the background set [N, C], and whether the label
    is present there [N, C]. If N is 0, only near-duplicates are found."""
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
    """The pairs of `rows` [C, ...] with a cosine of at least `least`, closest first."""
    unit = unit_norm(rows)
    found: list[tuple[float, int, int]] = []
    for start in range(0, len(unit), _BLOCK):
        cosines = unit[start : start + _BLOCK] @ unit[start:].T
        for row, column in np.argwhere(np.triu(cosines, 1) >= least):
            found.append((float(cosines[row, column]), start + int(row), start + int(column)))
        found = sorted(found, key=lambda pair: -pair[0])[:MOST_PAIRS]
    return tuple(LabelPair(names[first], names[second], cosine) for cosine, first, second in found)
