"""The evidence head: what a word tower's logits, the joint space and the graph over scores say of any label.

All of it after the towers is here, in NumPy, so that every engine gives the same scores. With a photograph's
embedding e, patch tokens, logits k of the known words and class probabilities q, the score of a label c is a
calibrated logit:

    s_c = a_c z_c + b_c + g_c log(q . M_c + 0.001) + sum_j w_cj k_j + m_c sum_j <Q v_c, K v_j> (sigmoid(k_j) - prior_j)

z is global and local matching, e and tokens against the label's embedding v. M_c spreads the label over the
classifier's classes by their names. w_c is 1 at the label's own known word, or small at words near to it. The
last sum is GMC on scores: what a photograph shows of all known words speaks for or against c. a_c, b_c, g_c,
w_c and m_c make up the label's row (`describe`); they depend on the label and the checkpoint alone, so that no
label's score depends on the other labels asked for. docs/method.md has the whole of it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from model.calibration import sigmoid
from model.config import EvidenceConfig
from model.vocabulary import Label

Array = npt.NDArray[np.float32]

TOP_CLASSES = 8
"""Classes that a label is spread over."""
NEAR_WORDS = 4
"""Known words that a label takes a part of its score from."""
POOL = 2
"""Positions along each side of the patch grid that make one token of local matching."""
_CLASS_TEMPERATURE = 0.04
_NEAR_TEMPERATURE = 0.05
_FLOOR = 0.001
"""Added to a class probability: below it, nothing is learned from how small it is."""
_GATE = 40.0
"""How sharply a cosine decides whether a class or a word is near enough to count."""
_CLIP = 4.0
"""Features of a label are taken for at most so many deviations from their mean."""
_BLOCK = 2048

_SCALE, _OFFSET, _CLASS_GAIN, _GRAPH_GATE, _FAMILIARITY = range(5)
_CLASS_ROWS = slice(5, 5 + TOP_CLASSES)
_CLASS_SHARES = slice(_CLASS_ROWS.stop, _CLASS_ROWS.stop + TOP_CLASSES)
_WORD_ROWS = slice(_CLASS_SHARES.stop, _CLASS_SHARES.stop + NEAR_WORDS)
_WORD_SHARES = slice(_WORD_ROWS.stop, _WORD_ROWS.stop + NEAR_WORDS)
_QUERY = _WORD_SHARES.stop

FEATURES = (
    "mean",
    "log_deviation",
    "quantile_90",
    "quantile_99",
    "quantile_999",
    "skewness",
    "nearest_known",
    "nearest_class",
    "nearest_lexicon",
    "log_count",
    "words",
)
"""What is known of a label that nobody labelled: how it scores on the background set, and where its text
lies among the texts that training met."""


def shapes(config: EvidenceConfig, embed_dim: int) -> dict[str, tuple[int, ...]]:
    """The arrays of an evidence head, by name; a bundle holds them as `head.<name>`."""
    words = len(config.known_words)
    return {
        "known_labels": (words, embed_dim),  # unit norm
        "known_slope": (words,),  # from a word's logit to its calibrated one
        "known_offset": (words,),
        "known_prior": (words,),  # mean probability on photographs as people take them
        "class_labels": (config.class_texts, embed_dim),  # unit norm
        "class_rows": (config.class_texts,),  # the class that each name is of
        "lexicon": (config.lexicon, embed_dim),  # unit norm
        "lexicon_counts": (config.lexicon,),  # log(1 + photographs whose caption has the word)
        "graph_query": (embed_dim, config.rank),
        "graph_key": (embed_dim, config.rank),
        "feature_mean": (len(FEATURES),),
        "feature_deviation": (len(FEATURES),),
        "slope": (1 + len(FEATURES),),
        "offset": (1 + len(FEATURES),),
        "gains": (6,),
        "scales": (3,),
    }


@dataclass(frozen=True, eq=False)
class Photographs:
    """What the image tower made of B photographs."""

    embeddings: Array
    """[B, D]"""
    tokens: Array
    """[B, P, D], pooled: see `pool_tokens`."""
    word_logits: Array
    """[B, K + classes]"""


class Evidence:
    """The head of one checkpoint."""

    def __init__(self, config: EvidenceConfig, arrays: Mapping[str, Array], top_k: int) -> None:
        """`arrays` as in `shapes`."""
        self._words = len(config.known_words)
        self._rows = {
            name.casefold(): row for row, names in enumerate(config.known_words) for name in reversed(names)
        }
        for row, names in enumerate(config.known_words):
            self._rows[names[0].casefold()] = row
        self._arrays = arrays
        self._top_k = top_k
        self._keys = arrays["known_labels"] @ arrays["graph_key"]
        self.width = _QUERY + config.rank

    def describe(self, labels: Sequence[Label], unit: Array, background: Photographs) -> Array:
        """The rows [C, width] of labels with embeddings `unit` [C, D] of unit norm, by their open scores on
        the background set."""
        rows = np.zeros((len(labels), self.width), np.float32)
        for start in range(0, len(labels), _BLOCK):
            block = slice(start, start + _BLOCK)
            rows[block] = self._describe(labels[block], unit[block], background)
        return rows

    def score(self, photographs: Photographs, unit: Array, rows: Array) -> Array:
        """Calibrated logits [B, C] of labels with embeddings `unit` [C, D] and `rows` [C, width]."""
        known = photographs.word_logits[:, : self._words]
        log_classes = self._log_classes(photographs.word_logits, rows)
        scores = rows[:, _SCALE] * self.open_scores(photographs, unit) + rows[:, _OFFSET]
        scores += rows[:, _CLASS_GAIN] * log_classes
        calibrated = self._calibrated(known)
        scores += np.einsum("bcj,cj->bc", calibrated[:, rows[:, _WORD_ROWS].astype(np.int64)], rows[:, _WORD_SHARES])
        messages = (sigmoid(calibrated) - self._arrays["known_prior"]) @ self._keys
        scores += rows[:, _GRAPH_GATE] * (messages @ rows[:, _QUERY:].T)
        result: Array = scores.astype(np.float32)
        return result

    def open_scores(self, photographs: Photographs, unit: Array) -> Array:
        """Global and local matching [B, C], in units that mean nothing yet."""
        global_scale, local_scale, bias = self._arrays["scales"]
        found = global_scale * (_unit(photographs.embeddings) @ unit.T) + bias
        local = _unit(photographs.tokens) @ unit.T
        count = min(self._top_k, local.shape[1])
        best = np.partition(local, local.shape[1] - count, axis=1)[:, local.shape[1] - count :]
        scores: Array = found + local_scale * best.mean(axis=1)
        return scores

    def familiarity(self, rows: Array) -> Array:
        """How well each label's text is known, in 0..1 [C]."""
        known: Array = rows[:, _FAMILIARITY].copy()
        return known
