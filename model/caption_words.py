"""What the image tower's logits say about words that captions mention. A part of the evidence head.

Captions mention many words that nobody labelled. What the tower recognises on a photograph says how likely it
is that a caption mentions such a word. If a label is no known word and no class's name, and is such a word,
its score also has

    d v + t,    v = w . x + b, at most 8

v is the log odds of a mention, and x are the tower's logits of all known words and classes. w and b are
fitted by ridge regression to the captions that training has (`sigrl.training.tasks.everyday.caption_words`).
d and t are fitted on words that were left out of a training's labels, but not of its captions: most of what
is visible is not mentioned, so t is above 0.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from sigrl.model.config import EvidenceConfig
from sigrl.model.label_facts import own_row, rows_of_names
from sigrl.model.vocabulary import Label

Array = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]

CAPTION_GAINS = ("caption_word", "caption_word_offset")
"""d and t."""
_LARGEST = 8.0
"""Of v, so that no unusual photograph outweighs everything else."""


class CaptionWords:
    """The words of captions of one checkpoint."""

    def __init__(self, config: EvidenceConfig, arrays: Mapping[str, Array]) -> None:
        """`arrays` are those of `sigrl.model.evidence_arrays.shapes`."""
        self._rows = rows_of_names([(word,) for word in config.caption_words])
        if config.caption_words:
            self._weights = arrays["caption_weights"]
            self._bias = arrays["caption_bias"]

    def rows(self, labels: Sequence[Label]) -> Rows:
        """The word of captions that each label is [C], or -1."""
        return np.array([own_row(label, self._rows) for label in labels], np.int64)

    def logits(self, word_logits: Array, rows: Rows) -> Array:
        """v [B, C] of labels with `rows` [C] on photographs with the image tower's logits [B, K + classes];
        0 for other labels."""
        found = np.zeros((len(word_logits), len(rows)), np.float32)
        chosen = np.flatnonzero(rows >= 0)
        if len(chosen):
            words = rows[chosen]
            said = word_logits @ self._weights[words].T + self._bias[words]
            found[:, chosen] = np.minimum(said, _LARGEST)
        return found
