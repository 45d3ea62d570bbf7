"""Rivals are known words that a photograph seldom shows together. A part of the evidence head.

Two words with similar texts (canoe and kayak, woman and girl) are often likely on the same photograph,
because the same thing is evidence for both. Each lowers the other:

    k_j <- k_j - log(1 + r sum of exp(k_i) over the rivals i of j)

If r is 1, this is the probability of j given that at most one of them is there, and 0 leaves k as it is.
"""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from sigrl.model.config import EvidenceConfig

Array = npt.NDArray[np.float32]

_LARGEST = 30.0
"""Logits are clipped to this before their exponentials are added."""


class RivalWords:
    """The rivals of one checkpoint's K known words."""

    def __init__(self, config: EvidenceConfig, arrays: Mapping[str, Array]) -> None:
        """`arrays` are those of `sigrl.model.evidence_arrays.shapes`."""
        self._shares: Array | None = None
        if config.rival_pairs:
            words = len(config.known_words)
            one, other = arrays["rival_words"].astype(np.int64).T
            self._shares = np.zeros((words, words), np.float32)
            self._shares[one, other] = self._shares[other, one] = arrays["rival_gain"][0]

    def lowered(self, logits: Array) -> Array:
        """The logits [B, K] of the known words, each lowered by its rivals."""
        if self._shares is None:
            return logits
        odds = np.exp(logits.clip(-_LARGEST, _LARGEST))
        found: Array = logits - np.log1p(odds @ self._shares)
        return found
