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
from typing import NamedTuple

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
    """The N broader words of one checkpoint with K known words."""

    def __init__(self, config: EvidenceConfig, arrays: Mapping[str, Array], classes: ClassEvidence) -> None:
        """`arrays` are those of `sigrl.model.evidence_arrays.shapes`."""
        self._classes = classes
        self._rows = rows_of_names(config.broader_words)
        self._count = len(config.broader_words)
        if config.broader_words:
            known = len(config.known_words)
            words, below = arrays["broader_pairs"].astype(np.int64).T
            of_words = below < known
            self._words_below = _Groups.of(words[of_words], below[of_words])
            self._classes_below = _Groups.of(words[~of_words], below[~of_words] - known)

    def rows(self, labels: Sequence[Label]) -> Rows:
        """The broader word that each label is [C], or -1."""
        return np.array([own_row(label, self._rows) for label in labels], np.int64)

    def logits(self, known: Array, probabilities: Array, rows: Rows) -> Array:
        """u [B, C] of labels with `rows` [C] on photographs with logits `known` [B, K] of the known words and
        class `probabilities` [B, classes]; 0 for other labels."""
        if not (rows >= 0).any():
            return np.zeros((len(known), len(rows)), np.float32)
        words, classes = self._words_below, self._classes_below
        found = np.full((len(known), self._count), -_LARGEST, np.float32)
        if len(words.members):
            found[:, words.words] = np.maximum.reduceat(known[:, words.members], words.starts, axis=1)
        if len(classes.members):
            together = np.add.reduceat(probabilities[:, classes.members], classes.starts, axis=1)
            said = self._classes.of_kinds(together, classes.counts)
            found[:, classes.words] = np.maximum(found[:, classes.words], said)
        chosen: Array = np.where(rows >= 0, found[:, rows].clip(-_LARGEST, _LARGEST), np.float32(0))
        return chosen


class _Groups(NamedTuple):
    """What is below each broader word that has anything of one kind below it."""

    words: Rows
    members: Rows
    """What is below the first of `words`, then what is below the second, and so on."""
    starts: Rows
    """Where each one's begin among the members."""
    counts: Array

    @classmethod
    def of(cls, words: Rows, below: Rows) -> "_Groups":
        order = np.argsort(words, kind="stable")
        distinct, starts, counts = np.unique(words[order], return_index=True, return_counts=True)
        return cls(distinct, below[order], starts, counts.astype(np.float32))
