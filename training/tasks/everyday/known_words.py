"""Fits the weights of known words: their own logit, their matching, the graph and a constant, shared by
all."""

import numpy as np
import numpy.typing as npt

from sigrl.model.evidence import Pieces
from sigrl.model.logistic import fit_logistic
from sigrl.model.vocabulary import Label
from sigrl.training.tasks.everyday.draft import DEFAULT_GAINS, Draft
from sigrl.training.tasks.everyday.trained import dense_rows, keep_photographs, known_labels

GAINS = ("known_word", "known_open", "graph", "known_offset")
"""The members of `sigrl.model.evidence_arrays.GAINS` that are fitted here."""
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


def fit(pieces: Pieces, labels: npt.NDArray[np.int8]) -> dict[str, float]:
    """The likeliest gains, given the pieces of known words and labels [N, K] (+1, -1, 0 unknown)."""
    known = labels != 0
    columns = [pieces.words[known], pieces.matching[known], pieces.graph[known], np.ones(known.sum())]
    start = np.array([DEFAULT_GAINS[name] for name in GAINS])
    features = np.stack(columns, axis=1).astype(np.float64)
    found = fit_logistic(features, labels[known] > 0, start, np.full(len(GAINS), _DEVIATION))
    return dict(zip(GAINS, found.tolist(), strict=True))
