"""Fits the calibration of labels to example photographs in which they are marked right or wrong. It starts
from the calibration that `sigrl.model.calibration` makes without examples. Imports without torch."""

from dataclasses import dataclass
from itertools import product
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from sigrl.model.calibration import (
    NO_BACKGROUND,
    OFFSET,
    SLOPE,
    THRESHOLD,
    Array,
    LabelCalibration,
    f1_thresholds,
    false_positive_thresholds,
    precision_thresholds,
    probabilities,
    recall_thresholds,
)
from sigrl.model.example_marks import keep_marks
from sigrl.model.logistic import fit_logistic

EXPECTED_THRESHOLD_PHOTOGRAPHS = 20.0
"""The threshold that follows from the probabilities alone weighs as much as this many examples that are
marked right."""
_SHIFT_DEVIATIONS = (0.1, 0.25, 0.5, 1.0, 2.0)
_SLOPE_DEVIATIONS = (0.1, 0.5)
"""The standard deviations of the prior that `calibrate_by_examples` tries: of the shift in logits, and of the
slope as a fraction of the old slope."""
_EVIDENCE = 2.0
"""Log-likelihood that a wider prior must gain to be chosen, because noise alone gains a little."""
_FOLDS = 5


@dataclass(frozen=True)
class BestF1:
    """The threshold with the best F1."""


@dataclass(frozen=True)
class TargetPrecision:
    """The lowest threshold with at least this precision: the share of the photographs given the label that
    show the thing, in 0..1."""

    precision: float


@dataclass(frozen=True)
class TargetRecall:
    """The highest threshold with at least this recall: the share of the photographs showing the thing that
    are given the label, in 0..1."""

    recall: float


@dataclass(frozen=True)
class FalsePositiveRate:
    """The lowest threshold with at most this false-positive rate, in 0..1. It is measured on a checkpoint's
    background set and needs no examples."""

    rate: float


EverydayGoal: TypeAlias = TargetPrecision | TargetRecall | FalsePositiveRate
"""The goals that can be met without examples, to the extent that the probabilities are right."""
Goal: TypeAlias = BestF1 | EverydayGoal


def everyday_thresholds(background: Array, goal: EverydayGoal) -> Array:
    """The thresholds [C] that meet a goal on N everyday photographs with probabilities [N, C]."""
    if isinstance(goal, TargetPrecision):
        return precision_thresholds(background, goal.precision)
    if isinstance(goal, TargetRecall):
        return recall_thresholds(background, goal.recall)
    return false_positive_thresholds(background, goal.rate)


def fit_labels(
    calibration: LabelCalibration | None,
    logits: Array | None,
    labels: npt.NDArray[np.int8],
    goal: Goal,
    *,
    background: Array | None,
    form: Literal["published", "context"],
    default_threshold: float,
) -> LabelCalibration:
    """`calibrate_by_examples` for any checkpoint: `calibration` is None if its labels have none, `background`
    is None if it has no background set, and `logits` is None if there are no examples. Raises ValueError for
    a false-positive rate without a background set."""
    if logits is None:
        logits = np.zeros(labels.shape, np.float32)
    if calibration is None:
        calibration = uncalibrated(logits, form, default_threshold)
    fitted = calibrate_by_examples(calibration, logits, labels, goal, background)
    if isinstance(goal, FalsePositiveRate):
        if background is None:
            raise ValueError(NO_BACKGROUND)
        everyday = probabilities(background, form, fitted)
        fitted[:, THRESHOLD] = everyday_thresholds(everyday, goal)
        fitted[:, THRESHOLD] = keep_marks(fitted, logits, labels)
    return fitted


def uncalibrated(
    logits: Array, form: Literal["published", "context"], default_threshold: float
) -> LabelCalibration:
    """The calibration from which `calibrate_by_examples` starts for C labels that have none; logits [M, C]
    are those of the examples.

    In the context form the probability is the sigmoid of the logit. In the published form logits are
    standardised as `probabilities` does, with the mean over all examples in place of each photograph's own.
    """
    calibration = np.tile(np.array([0, 1, default_threshold], np.float32), (logits.shape[1], 1))
    if form == "published":
        deviation = float(logits.std(axis=1).mean()) or 1.0
        calibration[:, SLOPE] = 1 / deviation
        calibration[:, OFFSET] = -float(logits.mean()) / deviation
    return calibration


def calibrate_by_examples(
    calibration: LabelCalibration,
    logits: Array,
    labels: npt.NDArray[np.int8],
    goal: Goal,
    background: Array | None = None,
) -> LabelCalibration:
    """The calibration [C, 3] after M examples with logits and labels [M, C]: +1 is marked right, -1 is marked
    wrong, 0 is not marked.

    The fewer examples a label has, the less its calibration changes; without any it does not change. How far
    labels may move is learned from all of them, by cross-validation. The examples are taken as a fair sample
    of future photographs, and so is `background`, logits [N, C]. A precision that no threshold reaches gives
    a threshold of 1, at which nothing is tagged. For a recall, the threshold of a label without an example
    marked right is the old one. For a false-positive rate, thresholds follow from the probabilities on the
    background set and are the old ones here.

    The goal chooses among the thresholds that agree with the marks: an example marked wrong is below the
    threshold of its label, and one marked right is not, unless an opposite example contradicts it
    (`sigrl.model.example_marks`).
    """
    known = labels != 0
    told = known.any(axis=0)
    if not told.any():
        return calibration.copy()
    calibrated = _fit(calibration, logits, labels, _deviations(calibration, logits, labels))
    calibrated[~told] = calibration[~told]
    found = probabilities(logits, "context", calibrated)
    if isinstance(goal, BestF1):
        everyday = (
            found
            if background is None
            else np.vstack([probabilities(background, "context", calibrated), found])
        )
        expected = f1_thresholds(everyday, calibration[:, THRESHOLD])
    for column in np.flatnonzero(told):
        rows = known[:, column]
        values, applies = found[rows, column], labels[rows, column] > 0
        if isinstance(goal, TargetPrecision):
            calibrated[column, THRESHOLD] = _precise(values, applies, goal.precision)
        elif isinstance(goal, TargetRecall):
            if applies.any():
                calibrated[column, THRESHOLD] = _complete(values[applies], goal.recall)
        elif isinstance(goal, BestF1):
            calibrated[column, THRESHOLD] = _best_f1(values, applies, float(expected[column]))
    calibrated[:, THRESHOLD] = keep_marks(
        calibrated, logits, labels, rejects_right=isinstance(goal, TargetRecall)
    )
    return calibrated


def _deviations(
    calibration: LabelCalibration, logits: Array, labels: npt.NDArray[np.int8]
) -> tuple[float, float]:
    """The prior's deviations of shift and slope that predict left-out examples best in cross-validation. A
    single example gets middle values."""
    folds = min(_FOLDS, len(logits))
    if folds < 2:
        return _SHIFT_DEVIATIONS[len(_SHIFT_DEVIATIONS) // 2], _SLOPE_DEVIATIONS[-1]
    fold = np.arange(len(logits)) % folds

    def likelihood(deviations: tuple[float, float]) -> float:
        total = 0.0
        for out in range(folds):
            rows = fold != out
            fitted = _fit(calibration, logits[rows], labels[rows], deviations)
            left = fitted[:, OFFSET] + fitted[:, SLOPE] * logits[~rows].astype(np.float64)
            total -= float((np.logaddexp(0, -labels[~rows] * left) * (labels[~rows] != 0)).sum())
        return total

    likelihoods = {each: likelihood(each) for each in product(_SHIFT_DEVIATIONS, _SLOPE_DEVIATIONS)}
    enough = max(likelihoods.values()) - _EVIDENCE
    return next(each for each, reached in likelihoods.items() if reached >= enough)


def _fit(
    calibration: LabelCalibration,
    logits: Array,
    labels: npt.NDArray[np.int8],
    deviations: tuple[float, float],
) -> LabelCalibration:
    """Fits offsets and slopes of all labels at once, by logistic regression with a normal prior around the
    old ones. Scores are centred where the old probability is one half: there shift and slope are nearly
    independent."""
    offset, slope = (calibration[:, part].astype(np.float64) for part in (OFFSET, SLOPE))
    even = -offset / slope
    old = slope * (logits - even)
    known, applies = labels != 0, labels > 0
    features = np.stack([np.ones_like(old), old], axis=-1).swapaxes(0, 1)
    coefficients = fit_logistic(features, applies.T, np.array([0.0, 1.0]), np.array(deviations), known.T)
    shift, factor = coefficients.T
    # A negative slope comes from wrong marks; probabilities must rise with scores.
    fitted = calibration.copy()
    fitted[:, SLOPE] = np.maximum(factor, 0.1) * slope
    fitted[:, OFFSET] = shift - fitted[:, SLOPE] * even
    return fitted


def _best_f1(found: Array, applies: npt.NDArray[np.bool_], expected: float) -> float:
    order = np.argsort(-found, kind="stable")
    right, taken = applies[order].cumsum(), np.arange(1, len(order) + 1)
    if not applies.any():
        return expected
    best = 2 * right / (taken + right[-1])
    # No threshold separates equal probabilities.
    best[:-1][found[order][:-1] == found[order][1:]] = 0
    place = int(best.argmax())
    following = found[order][place + 1] if place + 1 < len(order) else 0.0
    middle = (float(found[order][place]) + float(following)) / 2
    positives = int(right[-1])
    weight = EXPECTED_THRESHOLD_PHOTOGRAPHS
    return (positives * middle + weight * expected) / (positives + weight)


def _precise(found: Array, applies: npt.NDArray[np.bool_], precision: float) -> float:
    order = np.argsort(-found, kind="stable")
    reached = applies[order].cumsum() >= precision * np.arange(1, len(order) + 1)
    reached[:-1][found[order][:-1] == found[order][1:]] = False
    return float(found[order][np.flatnonzero(reached)[-1]]) if reached.any() else 1.0


def _complete(found: Array, recall: float) -> float:
    """The threshold for a recall; `found` are the probabilities of the examples that are marked right."""
    falling = -np.sort(-found)
    # In floating point 0.7 * 10 is a little more than 7, which would round up to 8.
    return float(falling[int(np.ceil(recall * len(falling) - 1e-9)) - 1])
