"""How good the trained parts are on the densely labelled photographs that chose nothing."""

import numpy as np

from training.metrics import average_precision_of_known
from training.tasks.everyday.data import dense_labels
from training.tasks.everyday.trained import Trained, known_logits, open_logits

_LEAST = 3
"""Photographs that show a word from which on its precision says something."""


def measure(trained: Trained) -> dict[str, float]:
    """Mean average precision, in percent, on the test photographs of `everyday`: of the known words' head and
    of the embedding, over names that were told; and of the embedding over those that were hidden.

    Photographs where nobody is sure are left out, name by name. What cannot be measured is left out.
    """
    rows = np.array(
        [
            number
            for number, one in enumerate(trained.photographs)
            if one.dense and one.role == "test" and trained.features.readable[number]
        ],
        dtype=np.int64,
    )
    if not len(rows):
        return {}
    names = trained.targets.known_words
    labels = dense_labels([trained.photographs[number] for number in rows], names)
    embeddings = trained.start.text_embeddings(names, trained.config.cache, "known words")
    known = known_logits(trained, rows)
    embedded = open_logits(trained, rows, embeddings)
    frequent = (labels == 1).sum(axis=0) >= _LEAST
    hidden = np.isin(names, trained.hidden)
    measured = {}
    for title, scores, chosen in (
        ("known words, mAP", known, frequent & ~hidden),
        ("embedding, mAP", embedded, frequent & ~hidden),
        ("embedding, hidden words, mAP", embedded, frequent & hidden),
    ):
        if chosen.any():
            precision = average_precision_of_known(scores[:, chosen], labels[:, chosen])
            measured[title] = float(precision.mean())
    return measured
