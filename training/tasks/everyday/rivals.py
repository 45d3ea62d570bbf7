"""Which known words are rivals: their texts are similar, and they are seldom on one photograph."""

from itertools import combinations, product

import numpy as np
import numpy.typing as npt

from sigrl.model.rival_words import Array
from sigrl.model.vocabulary import Vocabulary
from sigrl.training.data.dataset import DataError
from sigrl.training.tasks.everyday.names import ClassNames

RIVAL_GAIN = 0.3
_LEAST_COSINE = 0.3
_LARGEST_SHARE = 0.15
"""Of the photographs with the rarer word, the share that also has the other one, at most. The three numbers
were chosen together by the likelihood of `everyday`'s val photographs that were not searched for; their
neighbours differ little."""
_MOST_WORDS = 2048
"""A bundle stores the words' rows in float16, which holds no larger integers exactly."""
_ONE_PERSON = (
    *combinations(("man", "woman", "boy", "girl"), 2),
    *product(("man", "woman"), ("child", "baby")),
)
"""Names for one person. Photographs often show two people, so the shares alone would not find these."""


def rival_arrays(
    words: list[str], unit: Array, labels: npt.NDArray[np.int8], vocabulary: Vocabulary
) -> dict[str, Array]:
    """The arrays `rival_*` of `sigrl.model.evidence_arrays.shapes`; none without pairs.

    `unit` [K, D] are the words' embeddings of unit norm, and `labels` [N, K] say which of them photographs
    show: +1, -1, and 0 for unknown. Only photographs with a label for both words count for a pair. A word and
    its parent are not rivals. Raises DataError for too many words.
    """
    if len(words) > _MOST_WORDS:
        raise DataError(f"{len(words)} known words are too many for pairs of rivals: raise `known_words`")
    names = ClassNames(vocabulary.names, vocabulary)
    implied = [set(names.with_ancestors(word)) if word in names.column else {word} for word in words]
    shown, known = (labels > 0).astype(np.float32), (labels != 0).astype(np.float32)
    together, counts = shown.T @ shown, shown.T @ known
    # The constants keep a rare word from being everyone's rival by chance.
    shares = (together + 0.5) / (np.minimum(counts, counts.T) + 5)
    seen = (counts > 0) & (counts.T > 0)
    alike = (unit @ unit.T > _LEAST_COSINE) & (shares < _LARGEST_SHARE) & seen
    row = {word: number for number, word in enumerate(words)}
    for one, other in _ONE_PERSON:
        if one in row and other in row:
            alike[row[one], row[other]] = alike[row[other], row[one]] = True
    pairs = [
        (one, other)
        for one, other in np.argwhere(np.triu(alike, 1)).tolist()
        if words[one] not in implied[other] and words[other] not in implied[one]
    ]
    if not pairs:
        return {}
    return {
        "rival_words": np.array(pairs, np.float32),
        "rival_gain": np.array([RIVAL_GAIN], np.float32),
    }
