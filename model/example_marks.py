"""Keeps the threshold of a label on the right side of the examples in which the label is marked right or
wrong. Imports without torch."""

import numpy as np
import numpy.typing as npt

from sigrl.model.calibration import THRESHOLD, Array, LabelCalibration, probabilities

_ROOM = 0.1
"""Distance in logits between a threshold and the nearest examples, if these lie far enough apart."""
_LEAST_PROBABILITY = 1e-7


def keep_marks(
    calibration: LabelCalibration,
    logits: Array,
    labels: npt.NDArray[np.int8],
    *,
    rejects_right: bool = False,
) -> Array:
    """The thresholds [C] of a calibration, moved as little as possible so that they agree with the marks of M
    examples: one marked wrong is below the threshold of its label, and one marked right is not.

    Two examples are exempt when they contradict each other: one is marked right but no more probable than
    the other, which is marked wrong. No threshold agrees with both, so the calibration's own threshold
    decides. With `rejects_right` it then decides over all examples marked right, because a goal of recall
    determines how many of them to reject.

    `logits` and `labels` are [M, C], labels +1 for right, -1 for wrong and 0 for not marked.
    """
    found, thresholds = probabilities(logits, "context", calibration), calibration[:, THRESHOLD].copy()
    for column in np.flatnonzero((labels != 0).any(axis=0)):
        right, wrong = (found[labels[:, column] == mark, column] for mark in (1, -1))
        thresholds[column] = _between(float(thresholds[column]), right, wrong, rejects_right=rejects_right)
    return thresholds


def overruled(found: Array, labels: npt.NDArray[np.int8], thresholds: Array) -> npt.NDArray[np.int64]:
    """How many of M examples each label's threshold contradicts [C]: an example is marked right and below the
    threshold, or marked wrong and not below it. `found` are the examples' probabilities [M, C]; `labels`
    [M, C] are as in `keep_marks`."""
    accepted = found >= thresholds
    against: npt.NDArray[np.int64] = ((labels != 0) & (accepted != (labels > 0))).sum(axis=0)
    return against


def _between(threshold: float, right: Array, wrong: Array, *, rejects_right: bool) -> np.float32:
    """The value nearest to `threshold` that agrees with the marks of examples, by their probabilities."""
    lowest_right, highest_wrong = right.min(initial=np.inf), wrong.max(initial=-np.inf)
    is_contradictory = lowest_right <= highest_wrong
    low = wrong[wrong < lowest_right].max(initial=-np.inf)
    high = right[right > highest_wrong].min(initial=np.inf)
    if is_contradictory and rejects_right:
        high = np.inf
    both = np.concatenate([right, wrong])
    next_above, next_below = both[both > low].min(initial=np.inf), both[both < high].max(initial=-np.inf)
    # A photograph gets a slightly different score when it is tagged than from its kept features.
    least = _moved(low, min(_ROOM, (_logit(next_above) - _logit(low)) / 3))
    most = _moved(high, -min(_ROOM, (_logit(high) - _logit(next_below)) / 3))
    placed = np.float32(np.clip(threshold, least, most))
    # Near 0 and 1 this distance rounds to zero.
    kept: np.float32 = np.clip(placed, np.nextafter(np.float32(low), np.float32(np.inf)), np.float32(high))
    return kept


def _logit(probability: float) -> float:
    """An infinity stands for a missing example and is returned unchanged."""
    if np.isinf(probability):
        return probability
    within = np.clip(probability, _LEAST_PROBABILITY, 1 - _LEAST_PROBABILITY)
    return float(np.log(within) - np.log1p(-within))


def _moved(probability: float, logits: float) -> float:
    """The probability after adding `logits` to its logit; infinities stay unchanged."""
    return probability if np.isinf(probability) else float(1 / (1 + np.exp(-_logit(probability) - logits)))
