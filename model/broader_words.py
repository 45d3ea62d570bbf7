"""What known words and classes say about a broader word, such as *vehicle* or *fruit*. A part of the evidence
head.

The text of a broader word is near few of the words below it. If a label is no known word and no class's name,
and is such a broader word, its score also has

    f u + t,    u = max of k_j over the known words j below it, and of what the classes below it say

The classes say as much as about a known word that they are kinds of (`sigrl.model.class_evidence`). The
constant t is there because broader words apply to more photographs. WordNet says what is below a word; f and
t are fitted on words that were left out of a training.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from sigrl.model.class_evidence import ClassEvidence
from sigrl.model.config import EvidenceConfig
from sigrl.model.label_facts import own_row, rows_of_names
from sigrl.model.vocabulary import Label

Array = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]

BROADER_GAINS = ("broader_word", "broader_word_offset")
"""f and t."""
_LARGEST = 8.0
"""u is clipped to this, so that no single word outweighs everything else."""


class BroaderWords:
    """The broader words of one checkpoint with K known words."""

    def __init__(self, config: EvidenceConfig, arrays: Mapping[str, Array], classes: ClassEvidence) -> None:
        """`arrays` are those of `sigrl.model.evidence_arrays.shapes`."""
        self._classes = classes
        self._rows = rows_of_names(config.broader_words)
        self._below: list[tuple[Rows, Rows]] = []
        if config.broader_words:
            known = len(config.known_words)
            words, below = arrays["broader_pairs"].astype(np.int64).T
            for row in range(len(config.broader_words)):
                own = below[words == row]
                self._below.append((own[own < known], own[own >= known] - known))

    def rows(self, labels: Sequence[Label]) -> Rows:
        """The broader word that each label is [C], or -1."""
        return np.array([own_row(label, self._rows) for label in labels], np.int64)

    def logits(self, known: Array, probabilities: Array, rows: Rows) -> Array:
        """u [B, C] of labels with `rows` [C] on photographs with logits `known` [B, K] of the known words and
        class `probabilities` [B, classes]; 0 for other labels."""
        found = np.zeros((len(known), len(rows)), np.float32)
        for column in np.flatnonzero(rows >= 0).tolist():
            words, classes = self._below[rows[column]]
            said = [known[:, words].max(axis=1)] if len(words) else []
            if len(classes):
                said.append(self._classes.of_kinds(probabilities, classes))
            found[:, column] = np.max(said, axis=0).clip(-_LARGEST, _LARGEST)
        return found
