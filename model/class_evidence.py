"""What a classifier's classes say about known words and about labels: a part of the evidence head.

A known word's logit k_j is at least what the classes say that are kinds of it (a sandal is a shoe):

    k_j >= h (logit(sum of q over the n_j kinds of j) - log(max(n_j / 4, 1))) + t

The logarithm is there because the small probabilities of many classes add up on any photograph. The classes
never lower a logit: what is on the photograph may not be its most probable class.
"""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from sigrl.model.config import EvidenceConfig

Array = npt.NDArray[np.float32]

KIND_GAINS = ("kind", "kind_offset")
"""h and t: what the log odds of the classes that are kinds of a known word say about its logit."""
_FEW_KINDS = 4
_FLOOR = 0.001
"""Class probabilities are clipped to `_FLOOR` .. 1 - `_FLOOR` before their log odds are taken."""


class ClassEvidence:
    """The classes of one checkpoint, beside its K known words."""

    def __init__(self, config: EvidenceConfig, arrays: Mapping[str, Array]) -> None:
        """`arrays` are those of `sigrl.model.evidence_arrays.shapes`."""
        self._words = len(config.known_words)
        self._kinds: Array | None = None
        if config.kind_pairs:
            of_classes, of_words = (arrays[f"kind_{name}"].astype(np.int64) for name in ("classes", "words"))
            # The last classes of the classifier may be kinds of no known word.
            self._kinds = np.zeros((int(of_classes.max()) + 1, self._words), np.float32)
            self._kinds[of_classes, of_words] = 1
            self._gain, self._offset = arrays["kind_gains"]
            counts = self._kinds.sum(axis=0)
            self._offsets = np.where(counts > 0, self._offset_of(counts), -np.inf).astype(np.float32)

    def probabilities(self, word_logits: Array) -> Array:
        """The classes' probabilities [B, classes] from the image tower's logits [B, K + classes]."""
        logits = word_logits[:, self._words :]
        exponents = np.exp(logits - logits.max(axis=1, keepdims=True))
        found: Array = exponents / exponents.sum(axis=1, keepdims=True)
        return found

    def raised(self, known: Array, probabilities: Array) -> Array:
        """Logits `known` [B, K] of the known words, raised by the classes that are kinds of them."""
        if self._kinds is None:
            return known
        of_kinds = probabilities[:, : len(self._kinds)] @ self._kinds
        found: Array = np.maximum(known, self._gain * _log_odds(of_kinds) + self._offsets)
        return found

    def of_kinds(self, together: Array, counts: Array) -> Array:
        """What classes say about words that they are kinds of [B, n], from the probabilities of the kinds of
        each word `together` [B, n] and their `counts` [n]. Only for a checkpoint that has kinds."""
        found: Array = self._gain * _log_odds(together) + self._offset_of(counts)
        return found

    def _offset_of(self, counts: Array) -> Array:
        offsets: Array = self._offset - self._gain * np.log(np.maximum(counts / _FEW_KINDS, 1))
        return offsets

    def log_odds(self, probabilities: Array, rows: Array, shares: Array) -> Array:
        """Log odds [B, C] of each label's classes together: `rows` [C, n] and their `shares` [C, n]."""
        return _log_odds(mixed(probabilities, rows, shares))


def mixed(values: Array, rows: Array, shares: Array) -> Array:
    """Sums of `values` [B, N] at each label's `rows` [C, n], times its `shares` [C, n]: [B, C]."""
    # The photographs lie side by side, [N, B]: a row is read once for all of them.
    chosen = np.ascontiguousarray(values.T).take(rows.astype(np.int64), axis=0)
    found: Array = np.matmul(shares[:, None, :], chosen)[:, 0].T
    return found


def _log_odds(probabilities: Array) -> Array:
    clipped = probabilities.clip(_FLOOR, 1 - _FLOOR)
    found: Array = np.log(clipped) - np.log1p(-clipped)
    return found
