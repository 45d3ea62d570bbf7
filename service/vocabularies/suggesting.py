"""Chooses the photographs whose labelling teaches a vocabulary most."""

import numpy as np
import numpy.typing as npt

_TINY = 1e-9


def doubt(probabilities: npt.NDArray[np.floating]) -> float:
    """How uncertain the labels of one photograph are: the sum of the entropies of their probabilities [C], in
    nats. A photograph on which several labels may apply counts more, because it teaches several at once."""
    p = np.clip(probabilities.astype(np.float64), _TINY, 1 - _TINY)
    return float(-(p * np.log(p) + (1 - p) * np.log(1 - p)).sum())


def suggest(embeddings: npt.NDArray[np.floating], doubts: npt.NDArray[np.floating], count: int) -> list[int]:
    """The rows of at most `count` photographs to label, in this order, by uncertainty-weighted k-center
    (Sener and Savarese, "Active Learning for Convolutional Neural Networks", ICLR 2018, with the distance
    multiplied by the doubt): each is the most doubtful and the least like those before it. A copy of one
    before it is never chosen.

    Args:
        embeddings: unit vectors [N, D], one per photograph.
        doubts: [N], see `doubt`.
        count: at least 1.
    """
    if not len(embeddings):
        return []
    weights = np.maximum(doubts.astype(np.float64), _TINY)
    distances = np.full(len(embeddings), np.inf)
    chosen: list[int] = []
    best = int(weights.argmax())
    while len(chosen) < count and distances[best] > _TINY:
        chosen.append(best)
        distances = np.minimum(distances, 1 - embeddings @ embeddings[best])
        distances[chosen] = 0
        best = int((weights * distances).argmax())
    return chosen
