"""Measures the trained parts, and the head built from them, on photographs that no choice was based on."""

import numpy as np
import numpy.typing as npt

from sigrl.model.calibration import sigmoid
from sigrl.model.vocabulary import Label
from sigrl.training.measures.metrics import average_precision_of_known, expected_calibration_error
from sigrl.training.tasks.everyday.draft import Draft
from sigrl.training.tasks.everyday.trained import (
    Trained,
    dense_rows,
    keep_photographs,
    known_labels,
    known_logits,
    open_logits,
    text_vectors,
)

_LEAST = 3
"""Minimum number of photographs for a word's average precision to be meaningful."""
EVEN = 0.5
"""The threshold of labels that are as likely to apply as not."""


def measure(trained: Trained) -> dict[str, float]:
    """Mean average precision, in percent, on the test photographs of `everyday`: of the known words' head and
    of the embedding over trained names, and of the embedding over hidden names.

    Photographs with an unsure label are left out, name by name. Measures without data are left out.
    """
    rows = dense_rows(trained, "test", sought=True)
    if not len(rows):
        return {}
    names = trained.targets.known_words
    labels = known_labels(trained, rows)
    embeddings = trained.start.text_embeddings(names, trained.config.cache, "known words")
    known = known_logits(trained, rows)
    embedded = open_logits(trained, rows, embeddings)
    hidden = np.isin(names, trained.hidden)
    measured = {}
    for title, scores, chosen in (
        ("known words, mAP", known, ~hidden),
        ("embedding, mAP", embedded, ~hidden),
        ("embedding, hidden words, mAP", embedded, hidden),
    ):
        precision = _mean_average_precision(scores[:, chosen], labels[:, chosen])
        if precision is not None:
            measured[title] = precision
    return measured


def measure_head(draft: Draft, threshold: float) -> dict[str, float]:
    """The same photographs with a bundle's head, over all names of `everyday`, each asked for by name: both
    those with their own logit, which need a probability of `threshold`, and those with too few photographs
    for one."""
    trained = draft.trained
    rows = dense_rows(trained, "test", sought=True)
    if not len(rows):
        return {}
    unit = text_vectors(trained, trained.names, "names")
    described = draft.evidence.describe([Label(name=name) for name in trained.names], unit, draft.background)
    kept = keep_photographs(trained, rows, draft.words)
    logits = draft.evidence.score_kept(kept, unit, described)
    labels = known_labels(trained, rows)[:, : len(trained.names)]
    return measure_logits("head", logits, labels, draft.evidence.thresholds(described, threshold))


def measure_logits(
    title: str,
    logits: npt.NDArray[np.float32],
    labels: npt.NDArray[np.int8],
    thresholds: float | npt.NDArray[np.float32] = EVEN,
) -> dict[str, float]:
    """Measures in percent of calibrated logits [N, C] and labels (+1, -1, 0 unknown): mean average precision
    over words with enough photographs; over all pairs, precision, recall and F1 at `thresholds`, one or [C],
    and the expected calibration error."""
    probabilities = sigmoid(logits)
    known, positive = labels != 0, labels > 0
    decided = (probabilities >= thresholds) & known
    right = float((decided & positive).sum())
    precision, recall = right / max(decided.sum(), 1), right / max(positive.sum(), 1)
    measured = {
        "precision": 100 * precision,
        "recall": 100 * recall,
        "F1": 200 * precision * recall / max(precision + recall, 1e-9),
    }
    mean = _mean_average_precision(logits, labels)
    if mean is not None:
        measured = {"mAP": mean, **measured}
    if known.any():
        measured["ECE"] = expected_calibration_error(probabilities, positive, known=known).overall
    return {f"{title}, {name}": float(value) for name, value in measured.items()}


def _mean_average_precision(scores: npt.NDArray[np.float32], labels: npt.NDArray[np.int8]) -> float | None:
    frequent = (labels == 1).sum(axis=0) >= _LEAST
    if not frequent.any():
        return None
    return float(average_precision_of_known(scores[:, frequent], labels[:, frequent]).mean())
