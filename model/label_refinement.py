"""Labels calibrated by examples of their own: what labelled photographs add to `model.calibration`. Imports
without torch."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from model.calibration import (
    OFFSET,
    SLOPE,
    THRESHOLD,
    TRAINED_THRESHOLD_PHOTOGRAPHS,
    Array,
    LabelCalibration,
    probabilities,
)

Wide: TypeAlias = npt.NDArray[np.float64]

_SHIFT_DEVIATION = 2.0
_SLOPE_DEVIATION = 0.5
"""How far, in logits and as a part of the slope, a label without examples may well be off."""
_STEPS = 50


@dataclass(frozen=True)
class BestF1:
    """The threshold with the best F1."""


@dataclass(frozen=True)
class TargetPrecision:
    """The lowest threshold at which so many of the photographs with the label show the thing, in 0..1."""

    precision: float


@dataclass(frozen=True)
class FalsePositiveRate:
    """The lowest threshold at which at most so many of the photographs without the label get it, in 0..1, by
    a checkpoint's background set: it needs no examples."""

    rate: float


Goal: TypeAlias = BestF1 | TargetPrecision | FalsePositiveRate


def uncalibrated(
    logits: Array, form: Literal["published", "context"], default_threshold: float
) -> LabelCalibration:
    """What `refine` begins with for C labels without a calibration, by the logits [M, C] of the examples.

    In the context form their sigmoid is the probability already; in the published form they are standardised
    as `probabilities` does, with the mean over the examples in place of each photograph's own.
    """
    calibration = np.tile(np.array([0, 1, default_threshold], np.float32), (logits.shape[1], 1))
    if form == "published":
        deviation = float(logits.std(axis=1).mean()) or 1.0
        calibration[:, SLOPE] = 1 / deviation
        calibration[:, OFFSET] = -float(logits.mean()) / deviation
    return calibration


def refine(
    calibration: LabelCalibration,
    logits: Array,
    labels: npt.NDArray[np.int8],
    goal: Goal,
) -> LabelCalibration:
    """The calibration [C, 3] after M examples: logits and labels [M, C], labels +1, -1 or 0 for unknown.

    The fewer examples a label has, the nearer it stays to what it was; without any it stays. The examples are
    taken for a fair draw of the photographs to come. A precision that no threshold reaches gives a threshold
    of 1, at which nothing is tagged. For a false-positive rate the thresholds stay as they are: they follow
    from the probabilities on the background set.
    """
    refined = calibration.copy()
    for column in range(len(calibration)):
        known = labels[:, column] != 0
        if not known.any():
            continue
        scores, holds = logits[known, column].astype(np.float64), labels[known, column] > 0
        offset, slope = (float(calibration[column, part]) for part in (OFFSET, SLOPE))
        refined[column, :THRESHOLD] = _fit(scores, holds, offset, slope)
        found = probabilities(logits[known, column][:, None], "context", refined[column][None])[:, 0]
        if isinstance(goal, TargetPrecision):
            refined[column, THRESHOLD] = _precise(found, holds, goal.precision)
        elif isinstance(goal, BestF1):
            refined[column, THRESHOLD] = _best_f1(found, holds, float(calibration[column, THRESHOLD]))
    return refined


def logistic(features: Wide, targets: npt.NDArray[np.bool_], start: Wide, deviations: Wide) -> Wide:
    """Coefficients [F] of a logistic regression on `features` [M, F], by Newton's method, with a normal prior
    around `start` [F]."""
    coefficients = start.copy()
    precision = 1 / deviations**2
    for _ in range(_STEPS):
        expected = 1 / (1 + np.exp(-np.clip(features @ coefficients, -40, 40)))
        gradient = features.T @ (expected - targets) + precision * (coefficients - start)
        curvature = expected * (1 - expected)
        hessian = (features * curvature[:, None]).T @ features + np.diag(precision)
        step = np.clip(np.linalg.solve(hessian, gradient), -1, 1)
        coefficients = coefficients - step
        if np.abs(step).max() < 1e-6:
            break
    return coefficients


def _fit(scores: Wide, holds: npt.NDArray[np.bool_], offset: float, slope: float) -> tuple[float, float]:
    """The offset and slope of one label. Both are fitted around the score of an even chance: there the shift
    and the slope are nearly independent of each other."""
    even = -offset / slope
    features = np.stack([np.ones_like(scores), slope * (scores - even)], axis=1)
    start, deviations = np.array([0.0, 1.0]), np.array([_SHIFT_DEVIATION, _SLOPE_DEVIATION])
    shift, factor = logistic(features, holds, start, deviations)
    # A label that falls with its own score has wrong examples; probabilities keep the order of scores.
    new_slope = max(float(factor), 0.1) * slope
    return float(shift) - new_slope * even, new_slope


def _best_f1(found: Array, holds: npt.NDArray[np.bool_], before: float) -> float:
    order = np.argsort(-found, kind="stable")
    right, taken = holds[order].cumsum(), np.arange(1, len(order) + 1)
    if not holds.any():
        return before
    best = 2 * right / (taken + right[-1])
    # A cut within equal probabilities is none.
    best[:-1][found[order][:-1] == found[order][1:]] = 0
    place = int(best.argmax())
    following = found[order][place + 1] if place + 1 < len(order) else 0.0
    middle = (float(found[order][place]) + float(following)) / 2
    positives = int(right[-1])
    weight = TRAINED_THRESHOLD_PHOTOGRAPHS
    return (positives * middle + weight * before) / (positives + weight)


def _precise(found: Array, holds: npt.NDArray[np.bool_], precision: float) -> float:
    order = np.argsort(-found, kind="stable")
    reached = holds[order].cumsum() >= precision * np.arange(1, len(order) + 1)
    reached[:-1][found[order][:-1] == found[order][1:]] = False
    return float(found[order][np.flatnonzero(reached)[-1]]) if reached.any() else 1.0
