"""Multi-label measures on score matrices, as pure functions of NumPy arrays.

Three average precisions differ in how they treat equal scores and unknown labels: `average_precision` is the
strictest, `average_precision_of_known` is the open-vocabulary protocol's, and
`average_precision_of_thresholds` the single-positive protocol's. Zero-shot (ZSL) and generalised zero-shot
(GZSL) evaluation apply the same measures to the columns of the unseen labels and of all labels.
"""

from typing import NamedTuple

import numpy as np


def average_precision(scores: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Non-interpolated average precision per label [C], in percent.

    `scores` and `targets` (0 or 1) are [N, C]. Ties count against us: among equal scores the negatives come
    first. A label without a positive gets 0.
    """
    ranks = np.arange(1, len(targets) + 1)
    result = np.zeros(targets.shape[1])
    # One label at a time, because a thousand labels of a hundred thousand photographs would need 5 GB at
    # once.
    for label, (column, truth) in enumerate(zip(scores.T, targets.T, strict=True)):
        hits = truth[np.lexsort((truth, -column))]
        result[label] = 100 * (np.cumsum(hits) / ranks * hits).sum() / max(hits.sum(), 1)
    return result


def average_precision_of_known(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """BiAM's average precision per label [C], in percent: entries with label 0 are left out.

    `labels` [N, C] are 1, -1 or 0 for unknown. A label without a positive gets 0 and counts in the mean. Ties
    count against us; the published code leaves them to an unstable sort.
    """
    return average_precision(np.where(labels == 0, -np.inf, scores), (labels == 1).astype(np.float64))


def average_precision_of_thresholds(scores: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """scikit-learn's `average_precision_score` per label [C], in percent: equal scores share one threshold.

    `scores` and `targets` (0 or 1) are [N, C]; a label without a positive gets 0.
    """
    result = np.zeros(targets.shape[1])
    for label, (column, truth) in enumerate(zip(scores.T, targets.T, strict=True)):
        order = np.argsort(-column, kind="stable")
        last_of_equals = np.append(np.diff(column[order]) != 0, True).nonzero()[0]
        found = np.cumsum(truth[order], dtype=np.float64)[last_of_equals]
        gained = np.diff(found, prepend=0) / max(truth.sum(), 1)
        result[label] = 100 * (gained * found / (last_of_equals + 1)).sum()
    return result


def _best(scores: np.ndarray, k: int) -> np.ndarray:
    """Columns [N, k] of the best scores in each row; of equal scores, the first."""
    return np.argsort(-scores, axis=1, kind="stable")[:, :k]


def precision_at(scores: np.ndarray, targets: np.ndarray, k: int) -> float:
    """Share of true labels among the `k` best of each photograph, in percent."""
    return float(100 * np.take_along_axis(targets, _best(scores, k), axis=1).mean())


def recall_at(scores: np.ndarray, targets: np.ndarray, k: int) -> float:
    """Share of each photograph's true labels that are among its `k` best, in percent; 0 where it has none."""
    found = np.take_along_axis(targets, _best(scores, k), axis=1).sum(axis=1)
    return float(100 * (found / np.maximum(targets.sum(axis=1), 1)).mean())


def hit_at(scores: np.ndarray, targets: np.ndarray, k: int) -> float:
    """Share of photographs with at least one true label among the `k` best, in percent."""
    return float(100 * np.take_along_axis(targets, _best(scores, k), axis=1).any(axis=1).mean())


class F1(NamedTuple):
    """In percent."""

    f1: float
    precision: float
    recall: float


def f1_at(scores: np.ndarray, labels: np.ndarray, k: int) -> F1:
    """BiAM's F1@k, micro-averaged over all photographs, when the `k` best labels of each are taken.

    `labels` [N, C] are 1, -1 or 0 for unknown; an unknown label that is taken counts as wrong, as published.
    If nothing is right, all three are 0; the published code divides 0 by 0 there.
    """
    best = _best(scores, k)
    right = float((np.take_along_axis(labels, best, axis=1) == 1).sum())
    if right == 0:
        return F1(0.0, 0.0, 0.0)
    precision, recall = right / best.size, right / float((labels == 1).sum())
    return F1(100 * 2 * precision * recall / (precision + recall), 100 * precision, 100 * recall)


class KnownBest(NamedTuple):
    """The `k` best labels of each photograph among those that are known, [N] each."""

    right: np.ndarray
    """How many of them apply."""
    taken: np.ndarray
    """How many there are: `k`, or fewer if fewer labels are known."""


def best_of_known(scores: np.ndarray, labels: np.ndarray, k: int) -> KnownBest:
    """The counts behind precision, hits and F1 at k, with unknown labels skipped.

    `scores` [N, C] are finite; `labels` [N, C] are 1, -1 or 0 for unknown.
    """
    best = np.take_along_axis(labels, _best(np.where(labels == 0, -np.inf, scores), k), axis=1)
    return KnownBest((best == 1).sum(axis=1), (best != 0).sum(axis=1))


class CalibrationError(NamedTuple):
    """Errors in percent; bins from low to high probabilities, as in a reliability diagram."""

    per_label: np.ndarray
    """[C]; NaN for a label about which nothing is known."""
    overall: float
    """The error of all (photograph, label) pairs in common bins; opposite errors of labels cancel."""
    counts: np.ndarray
    """[bins] pairs."""
    mean_probabilities: np.ndarray
    """[bins] in 0..1; NaN for an empty bin."""
    frequencies: np.ndarray
    """[bins], the share of positive pairs, in 0..1; NaN for an empty bin."""


def expected_calibration_error(
    probabilities: np.ndarray, targets: np.ndarray, bins: int = 15, known: np.ndarray | None = None
) -> CalibrationError:
    """Expected calibration error: over `bins` of equal width, the difference between the mean probability and
    the share of true labels, weighted by the number of pairs in the bin.

    `probabilities` in 0..1 and `targets` (0 or 1) are [N, C]; a probability on an edge belongs to the upper
    bin. Only pairs where `known` [N, C] (bool) is true count; by default all. Raises ValueError if there is
    nothing to measure, or for a value outside 0..1.
    """
    if probabilities.size == 0 or (known is not None and not known.any()):
        raise ValueError("calibration needs at least one photograph and one label")
    if not ((probabilities >= 0) & (probabilities <= 1)).all():
        raise ValueError(
            "calibration is measured on probabilities in 0..1: apply the calibration to the scores"
        )
    labels = probabilities.shape[1]
    # One label at a time, as in `average_precision`.
    counts, sums, true = (np.zeros((labels, bins)) for _ in range(3))
    for label in range(labels):
        rows = slice(None) if known is None else known[:, label]
        column = probabilities[rows, label].astype(np.float64)
        bin_of = np.minimum((column * bins).astype(int), bins - 1)
        counts[label] = np.bincount(bin_of, minlength=bins)
        sums[label] = np.bincount(bin_of, column, minlength=bins)
        true[label] = np.bincount(bin_of, targets[rows, label], minlength=bins)
    with np.errstate(invalid="ignore"):
        per_label: np.ndarray = 100 * np.abs(sums - true).sum(axis=1) / counts.sum(axis=1)
        mean_probabilities, frequencies = (part.sum(axis=0) / counts.sum(axis=0) for part in (sums, true))
    overall = 100 * np.abs((sums - true).sum(axis=0)).sum() / counts.sum()
    return CalibrationError(
        per_label, float(overall), counts.sum(axis=0).astype(int), mean_probabilities, frequencies
    )


def f1_of_decisions(decided: np.ndarray, targets: np.ndarray) -> tuple[float, float]:
    """Micro and macro F1 in percent; `decided` (bool) and `targets` (0 or 1) are [N, C]. A label that is
    neither true nor decided anywhere gets 0."""
    true = (decided & (targets > 0)).sum(axis=0)
    size = decided.sum(axis=0) + targets.sum(axis=0)
    return float(200 * true.sum() / max(size.sum(), 1)), float((200 * true / np.maximum(size, 1)).mean())


def f1_threshold(probabilities: np.ndarray, targets: np.ndarray) -> tuple[float, float]:
    """The threshold with the best mean of micro and macro F1, and that F1 in percent."""
    best = (0.5, 0.0)
    for threshold in np.linspace(0.05, 0.95, 91):
        score = sum(f1_of_decisions(probabilities >= threshold, targets)) / 2
        if score > best[1]:
            best = (round(float(threshold), 2), score)
    return best
