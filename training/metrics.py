"""Multi-label measures on score matrices; pure functions on NumPy arrays."""

import numpy as np


def average_precision(scores: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Non-interpolated average precision per label [C], in percent.

    `scores` and `targets` (0 or 1) are [N, C]. Ties are broken against us: among equal scores the negatives
    come first. A label without a positive gets 0.
    """
    order = np.lexsort((targets, -scores), axis=0)
    hits = np.take_along_axis(targets, order, axis=0)
    ranks = np.arange(1, len(targets) + 1)[:, None]
    precision = np.cumsum(hits, axis=0) / ranks
    positives = hits.sum(axis=0)
    result: np.ndarray = 100 * (precision * hits).sum(axis=0) / np.maximum(positives, 1)
    return result


def precision_at(scores: np.ndarray, targets: np.ndarray, k: int) -> float:
    """Share of true labels among the `k` best of each photograph, in percent."""
    best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return float(100 * np.take_along_axis(targets, best, axis=1).mean())


def hit_at(scores: np.ndarray, targets: np.ndarray, k: int) -> float:
    """Share of photographs with at least one true label among the `k` best, in percent."""
    best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return float(100 * np.take_along_axis(targets, best, axis=1).any(axis=1).mean())


def f1_threshold(probabilities: np.ndarray, targets: np.ndarray) -> tuple[float, float]:
    """The one threshold with the best mean of micro and macro F1, and that F1 in percent."""
    best = (0.5, 0.0)
    for threshold in np.linspace(0.05, 0.95, 91):
        decided = probabilities >= threshold
        true = (decided & (targets > 0)).sum(axis=0)
        size = decided.sum(axis=0) + targets.sum(axis=0)
        micro = 2 * true.sum() / max(size.sum(), 1)
        macro = (2 * true / np.maximum(size, 1)).mean()
        score = float(100 * (micro + macro) / 2)
        if score > best[1]:
            best = (round(float(threshold), 2), score)
    return best
