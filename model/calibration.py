"""Turns scores into probabilities and thresholds, whatever engine computed them. Imports without torch.

Even a new word has a distribution of scores on unrelated photographs: a bundle's background set
(`sigrl.model.background`). This module relies on three measured facts. The logits of labels that a checkpoint
was trained with are already probabilities. Those of other words are shifted by an amount specific to the
word, which the lower quartile of its background logits reveals, even if three of four photographs show the
thing. And the threshold with the best F1 differs between labels, but follows from the probabilities alone.
"""

from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from pydantic import Field

from sigrl.model.config import Frozen
from sigrl.model.features import unit_norm

Array: TypeAlias = npt.NDArray[np.float32]

LabelCalibration: TypeAlias = Array
"""[C, 3]: turns the logits of C labels into probabilities and decisions. The columns are:"""
OFFSET, SLOPE, THRESHOLD = 0, 1, 2
"""A probability is the sigmoid of offset + slope * logit; the label counts as present from the threshold
on."""

QUARTILE = 0.25
FAMILIAR_COSINE = 0.7
"""A label whose text is no closer than this to any trained label is entirely a new word."""
THRESHOLD_PHOTOGRAPHS = 5.0
"""The prior threshold counts like this many photographs, so that the threshold of a label that is hardly ever
present does not follow a photograph or two."""
NO_BACKGROUND = (
    "the checkpoint has no background set: make one with `sigrl-train calibrate`, or give a threshold"
)
_BLOCK = 1024
_STEP = 1e-6
"""Probabilities are reported with six digits, so smaller differences are invisible."""
_BINS = 15


class CalibrationConfig(Frozen):
    """The calibration in a bundle's manifest."""

    photographs: int = Field(ge=1)
    """Number of photographs in the background set."""
    offset: float
    """Logit of a new word whose score is at the lower quartile of its background scores."""
    slope: float = Field(gt=0)
    """Increase of that logit per unit of the score."""


def probabilities(
    scores: Array, form: Literal["published", "context"], calibration: LabelCalibration | None = None
) -> Array:
    """Scores [B, C] -> probabilities [B, C] in 0..1: calibrated if there is a calibration [C, 3], otherwise
    in the context form the sigmoid of the logit.

    Scores of the published form are not logits: their size depends on the label set. They are first
    standardised over the labels of the photograph, so that 0.5 is the average label, 0.73 one deviation above
    it and 0.95 three. These values can be ranked and thresholded, but mean nothing for a label alone.
    """
    if calibration is not None:
        scores = calibration[:, OFFSET] + calibration[:, SLOPE] * scores
    elif form == "published":
        deviation = scores.std(axis=1, keepdims=True)
        scores = (scores - scores.mean(axis=1, keepdims=True)) / np.where(deviation > 0, deviation, 1)
    return sigmoid(scores)


def calibration_error(probabilities: Array, labels: npt.NDArray[np.int8]) -> float:
    """Expected calibration error of probabilities [N, C], in 0..1: over bins of equal width, the difference
    between the mean probability and the share of true labels, weighted by the number of pairs in the bin.
    Labels [N, C] are +1, -1 or 0 for unknown, which does not count; at least one must be known."""
    known = labels != 0
    found, true = probabilities[known].astype(np.float64), labels[known] > 0
    bin_of = np.minimum((found * _BINS).astype(int), _BINS - 1)
    differences = np.bincount(bin_of, found - true, minlength=_BINS)
    return float(np.abs(differences).sum() / len(found))


def sigmoid(logits: Array) -> Array:
    """The logistic sigmoid, which does not overflow for any logits."""
    values: Array = np.exp(-np.logaddexp(np.float32(0), -logits))
    return values


def familiarity(label_embeddings: Array, trained: Array) -> Array:
    """How close each of C labels is to the trained labels, in 0..1 [C].

    Takes text features [C, D] and [K, D]; K may be 0. It is 1 at a trained label, and 0 from
    `FAMILIAR_COSINE` on.
    """
    if not len(trained):
        return np.zeros(len(label_embeddings), np.float32)
    nearest = (unit_norm(label_embeddings) @ unit_norm(trained).T).max(axis=1)
    near: Array = np.clip((nearest - FAMILIAR_COSINE) / (1 - FAMILIAR_COSINE), 0, 1).astype(np.float32)
    return near


def calibrate_labels(
    background: Array, familiar: Array, config: CalibrationConfig, default_threshold: float
) -> LabelCalibration:
    """The calibration of C labels, from their logits on the background set [N, C] and their familiarity [C].

    A trained label keeps its logits. Those of a new word are shifted so that the lower quartile lies at the
    value in `config`. Labels in between get a weighted mean of both.
    """
    new = 1 - familiar
    calibration = np.empty((background.shape[1], 3), np.float32)
    calibration[:, OFFSET] = new * (config.offset - config.slope * lower_quartile(background))
    calibration[:, SLOPE] = familiar + new * config.slope
    found = probabilities(background, "context", calibration)
    calibration[:, THRESHOLD] = f1_thresholds(found, default_threshold)
    return calibration


def calibrated_already(thresholds: Array) -> LabelCalibration:
    """The calibration of labels whose logits already are calibrated, with thresholds [C]."""
    calibration = np.tile(np.array([0, 1, 0], np.float32), (len(thresholds), 1))
    calibration[:, THRESHOLD] = thresholds
    return calibration


def thresholds(calibration: LabelCalibration | None, labels: int, default_threshold: float) -> Array:
    """The labels' own thresholds [C]; without a calibration, the default for all `labels`."""
    if calibration is None:
        return np.full(labels, default_threshold, np.float32)
    own: Array = calibration[:, THRESHOLD]
    return own


def lower_quartile(background: Array) -> Array:
    """[N, C] -> [C]."""
    quartile: Array = np.quantile(background, QUARTILE, axis=0).astype(np.float32)
    return quartile


def f1_thresholds(background: Array, before: float | Array) -> Array:
    """The thresholds [C] with the best expected F1, if the probabilities [N, C] of N everyday photographs are
    right: half the best F1 that can be expected. `before`, one or [C], counts like `THRESHOLD_PHOTOGRAPHS`
    photographs that show the label."""
    thresholds = np.empty(background.shape[1], np.float32)
    old = np.broadcast_to(np.asarray(before), thresholds.shape)
    for start in range(0, len(thresholds), _BLOCK):
        block = slice(start, start + _BLOCK)
        falling = -np.sort(-background[:, block].astype(np.float64), axis=0)
        right = falling.cumsum(axis=0)
        taken = np.arange(1, len(falling) + 1)[:, None]
        best = (2 * right / (taken + right[-1])).max(axis=0)
        found = right[-1] * best / 2 + THRESHOLD_PHOTOGRAPHS * old[block]
        thresholds[block] = found / (right[-1] + THRESHOLD_PHOTOGRAPHS)
    return thresholds


def false_positive_thresholds(background: Array, rate: float) -> Array:
    """The lowest thresholds [C] at which at most the share `rate` of the photographs without the label get
    it. Uses the probabilities [N, C] of N everyday photographs, each weighted by its probability of not
    showing the label."""
    rising = np.sort(background, axis=0)
    absent = 1 - rising.astype(np.float64)
    # A threshold includes all values equal to it; above the highest it includes none.
    rising = np.vstack([rising, np.nextafter(rising[-1:], np.float32(2))])
    taken = np.vstack([absent[::-1].cumsum(axis=0)[::-1], np.zeros_like(absent[:1])])
    differs = np.vstack([np.ones_like(rising[:1], bool), np.diff(rising, axis=0) > 0])
    first = (differs & (taken <= rate * absent.sum(axis=0))).argmax(axis=0)
    thresholds: Array = np.take_along_axis(rising, first[None], axis=0)[0]
    return thresholds


def precision_thresholds(background: Array, precision: float) -> Array:
    """The lowest thresholds [C] at which the share `precision` of the photographs that get a label is
    expected to show it, by the probabilities [N, C] of N everyday photographs.

    `THRESHOLD_PHOTOGRAPHS` more photographs are assumed to lie at the threshold itself. So without
    photographs near it, the threshold is `precision`; it is never higher, because everything above has at
    least that probability.
    """
    falling = -np.sort(-background.astype(np.float64), axis=0)
    # The expected surplus of photographs that show the label over those required, for each cut.
    spare = np.vstack([np.zeros_like(falling[:1]), (falling - precision).cumsum(axis=0)])
    # The threshold includes all values equal to it, so it must be above the next one.
    above = np.vstack([falling + _STEP, np.zeros_like(falling[:1])])
    lowest: Array = np.maximum(above, precision - spare / THRESHOLD_PHOTOGRAPHS).min(axis=0)
    return np.minimum(lowest, precision).astype(np.float32)


def recall_thresholds(background: Array, recall: float) -> Array:
    """The highest thresholds [C] at which the share `recall` of the photographs that show a label is expected
    to get it, by the probabilities [N, C] of N everyday photographs.

    `THRESHOLD_PHOTOGRAPHS` more photographs that show the label are assumed, with uniformly distributed
    probabilities. So if no photograph is likely to show it, the threshold is 1 - `recall`.
    """
    falling = -np.sort(-background.astype(np.float64), axis=0)
    right = np.vstack([np.zeros_like(falling[:1]), falling.cumsum(axis=0)])
    missing = recall * (right[-1] + THRESHOLD_PHOTOGRAPHS) - right
    from_here = np.vstack([np.ones_like(falling[:1]), falling])
    highest: Array = np.minimum(from_here, 1 - missing / THRESHOLD_PHOTOGRAPHS).max(axis=0)
    return np.maximum(highest, 0).astype(np.float32)
