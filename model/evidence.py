"""The evidence head: what a word tower's logits, the joint space and the graph over scores say of any label.

All of it after the towers is here, in NumPy, so that every engine gives the same scores. With a photograph's
embedding e, patch tokens, logits k of the known words and class probabilities q, the score of a label c is a
calibrated logit:

    s_c = a_c z_c + b_c + g_c logit(q . M_c) + sum_j w_cj k_j
          + m_c sum_j <Q v_c, K v_j> (sigmoid(k_j) - p_j)

z is global and local matching, e and tokens against the label's embedding v. M_c spreads the label over the
classifier's classes by their names; g_c is 0 for a known word. w_c names the label's own known word, or words
near to it. The last sum is GMC on scores: what a photograph shows of all known words speaks for or against c.
a_c, b_c, g_c, w_c and m_c make up the label's row (`describe`). They depend on the label and the checkpoint
alone, so that no score depends on the other labels asked for. docs/method.md has the whole of it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from model.calibration import sigmoid
from model.config import EvidenceConfig, HeadConfig
from model.kept_features import KeptFeatures
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
"""A class probability below it, or as near to one, says no more than that."""
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

GAINS = (
    "known_word",  # of a known word: its own logit, matching, and a constant
    "known_open",
    "known_offset",
    "new_class",  # of a new word: the log odds of the classes that are like it
    "class_cut",  # cosine of the nearest class from which on these count
    "own_class",  # of a new word that is a class: the log odds of that class, matching, and a constant
    "own_open",
    "own_offset",
    "own_cut",  # cosine of the nearest class from which on a label is that class
    "near_words",  # of a new word: the logits of known words near to it
    "near_cut",  # cosine of the nearest known word from which on these count
    "graph",  # of both: what a photograph shows of all known words
)
"""How much each piece of evidence counts in a calibrated logit."""
FAMILIAR = (0.38, 0.68)
"""Cosine to the nearest text that training met at which a label is unknown, and known well."""


def shapes(config: EvidenceConfig, embed_dim: int) -> dict[str, tuple[int, ...]]:
    """The arrays of an evidence head, by name; a bundle holds them as `head.<name>`."""
    words = len(config.known_words)
    return {
        "known_labels": (words, embed_dim),  # unit norm
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
        "gains": (len(GAINS),),
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

    def __init__(self, head: HeadConfig, arrays: Mapping[str, Array]) -> None:
        """`arrays` as in `shapes`, and the three scales that every head in the context form has."""
        assert head.evidence is not None
        known_words = head.evidence.known_words
        # A word's own name goes before the same name as a synonym of another.
        self._rows = {name.casefold(): row for row, names in enumerate(known_words) for name in names[1:]}
        self._rows |= {names[0].casefold(): row for row, names in enumerate(known_words)}
        self._arrays = arrays
        self._scales = (
            float(np.exp(arrays["log_global_scale"])),
            float(np.exp(arrays["log_local_scale"])),
            float(arrays["bias"]),
        )
        self._gains = dict(zip(GAINS, arrays["gains"].tolist(), strict=True))
        self._top_k = head.top_k
        self._keys = arrays["known_labels"] @ arrays["graph_key"]
        self.width = _QUERY + head.evidence.rank

    def describe(self, labels: Sequence[Label], unit: Array, background: KeptFeatures) -> Array:
        """The rows [C, width] of labels with embeddings `unit` [C, D] of unit norm."""
        rows = np.zeros((len(labels), self.width), np.float32)
        for start in range(0, len(labels), _BLOCK):
            block = slice(start, start + _BLOCK)
            rows[block] = self._describe(labels[block], unit[block], background)
        return rows

    def score(self, photographs: Photographs, unit: Array, rows: Array | None) -> Array:
        """Calibrated logits [B, C] of labels with embeddings `unit` [C, D] and `rows` [C, width]."""
        rows = _some(rows)
        known = photographs.word_logits[:, : len(self._keys)]
        scores = rows[:, _SCALE] * self._open_scores(photographs, unit) + rows[:, _OFFSET]
        scores += rows[:, _CLASS_GAIN] * self._class_log_odds(photographs.word_logits, rows)
        of_words = known[:, rows[:, _WORD_ROWS].astype(np.int64)]
        scores += np.einsum("bcj,cj->bc", of_words, rows[:, _WORD_SHARES])
        messages = (sigmoid(known) - self._arrays["known_prior"]) @ self._keys
        scores += rows[:, _GRAPH_GATE] * (messages @ rows[:, _QUERY:].T)
        calibrated: Array = scores.astype(np.float32)
        return calibrated

    def score_kept(self, photographs: KeptFeatures, unit: Array, rows: Array | None) -> Array:
        """The same [N, C] of photographs that an engine kept."""
        return photographs.logits(
            lambda embeddings, tokens, words: self.score(_photographs(embeddings, tokens, words), unit, rows)
        )

    def familiarity(self, rows: Array) -> Array:
        """How well each label's text is known, in 0..1 [C]."""
        known: Array = rows[:, _FAMILIARITY].copy()
        return known

    def _describe(self, labels: Sequence[Label], unit: Array, background: KeptFeatures) -> Array:
        arrays, gains = self._arrays, self._gains
        rows = np.zeros((len(labels), self.width), np.float32)
        to_known = unit @ arrays["known_labels"].T
        to_lexicon = unit @ arrays["lexicon"].T
        nearest_class = self._spread_over_classes(unit, rows)
        own_word = np.array([self._row(label) for label in labels])
        known = own_word >= 0
        nearest = np.where(known, 1.0, to_known.max(axis=1)).astype(np.float32)
        _share_of_words(to_known, own_word, rows)

        open_scores = background.logits(
            lambda embeddings, tokens, words: self._open_scores(_photographs(embeddings, tokens, words), unit)
        )
        classes = background.logits(
            lambda _embeddings, _tokens, words: self._class_log_odds(_some(words), rows)
        ).mean(axis=0)
        of_words = background.logits(lambda _embeddings, _tokens, words: _some(words)).mean(axis=0)
        mean, deviation = open_scores.mean(axis=0), open_scores.std(axis=0) + 1e-6
        features = self._features(labels, open_scores, nearest, nearest_class, to_lexicon)

        near_gate = _gate(nearest, gains["near_cut"])
        own = np.where(known, 0, _gate(nearest_class, gains["own_cut"]))
        class_gain = gains["new_class"] * _gate(nearest_class, gains["class_cut"])
        slope = np.exp(features @ arrays["slope"])
        near_words = (1 - own) * gains["near_words"] * near_gate
        rows[:, _WORD_SHARES] *= np.where(known, gains["known_word"], near_words)[:, None]
        part_of_words = (of_words[rows[:, _WORD_ROWS].astype(np.int64)] * rows[:, _WORD_SHARES]).sum(axis=1)
        new_offset = features @ arrays["offset"] - class_gain * classes
        new_scale = ((1 - own) * slope + own * gains["own_open"]) / deviation
        offset = (1 - own) * new_offset + own * gains["own_offset"] - new_scale * mean - part_of_words
        rows[:, _SCALE] = np.where(known, gains["known_open"], new_scale)
        rows[:, _OFFSET] = np.where(known, gains["known_offset"], offset)
        rows[:, _CLASS_GAIN] = np.where(known, 0, (1 - own) * class_gain + own * gains["own_class"])
        rows[:, _GRAPH_GATE] = gains["graph"] * np.where(known, 1, near_gate)
        rows[:, _QUERY:] = unit @ arrays["graph_query"]
        low, high = FAMILIAR
        best = np.maximum(np.maximum(nearest, nearest_class), to_lexicon.max(axis=1))
        rows[:, _FAMILIARITY] = np.clip((best - low) / (high - low), 0, 1)
        return rows

    def _row(self, label: Label) -> int:
        """The known word that the label is, or -1. A prompt of the label's own may mean something else."""
        if label.prompts:
            return -1
        found = (self._rows.get(name.casefold(), -1) for name in (label.name, *label.synonyms))
        return next((row for row in found if row >= 0), -1)

    def _spread_over_classes(self, unit: Array, rows: Array) -> Array:
        """Fills in the label's classes and their shares; gives the cosine of the nearest class [C]."""
        of_names = unit @ self._arrays["class_labels"].T
        class_rows = self._arrays["class_rows"].astype(np.int64)
        similarity = np.full((len(unit), int(class_rows.max()) + 1), -1, np.float32)
        np.maximum.at(similarity.T, class_rows, of_names.T)
        best = np.argsort(-similarity, axis=1)[:, :TOP_CLASSES]
        found = np.take_along_axis(similarity, best, axis=1)
        nearest: Array = found[:, 0]
        shares = np.exp((found - found[:, :1]) / _CLASS_TEMPERATURE)
        width = best.shape[1]
        rows[:, _CLASS_ROWS][:, :width] = best
        rows[:, _CLASS_SHARES][:, :width] = nearest[:, None] * shares / shares.sum(axis=1, keepdims=True)
        return nearest

    def _features(
        self,
        labels: Sequence[Label],
        open_scores: Array,
        nearest: Array,
        nearest_class: Array,
        to_lexicon: Array,
    ) -> Array:
        """`FEATURES` of each label, standardised, behind a one: [C, 1 + F]."""
        mean, deviation = open_scores.mean(axis=0), open_scores.std(axis=0) + 1e-6
        standard = (open_scores - mean) / deviation
        closest = to_lexicon.argmax(axis=1)
        counts = self._arrays["lexicon_counts"][closest] * np.maximum(to_lexicon.max(axis=1), 0)
        features = np.stack(
            [
                mean,
                np.log(deviation),
                *np.quantile(standard, (0.9, 0.99, 0.999), axis=0),
                (standard**3).mean(axis=0),
                nearest,
                nearest_class,
                to_lexicon.max(axis=1),
                counts,
                [len(label.name.split()) for label in labels],
            ],
            axis=1,
        )
        scaled = (features - self._arrays["feature_mean"]) / self._arrays["feature_deviation"]
        ones = np.ones((len(labels), 1))
        standardised: Array = np.hstack([ones, np.clip(scaled, -_CLIP, _CLIP)]).astype(np.float32)
        return standardised

    def _open_scores(self, photographs: Photographs, unit: Array) -> Array:
        """Global and local matching [B, C], not calibrated."""
        global_scale, local_scale, bias = self._scales
        scores = global_scale * (_unit(photographs.embeddings) @ unit.T) + bias
        local = _unit(photographs.tokens) @ unit.T
        first = local.shape[1] - min(self._top_k, local.shape[1])
        best = np.partition(local, first, axis=1)[:, first:]
        matched: Array = scores + local_scale * best.mean(axis=1)
        return matched

    def _class_log_odds(self, word_logits: Array, rows: Array) -> Array:
        """Log odds of each label's classes [B, C]."""
        logits = word_logits[:, len(self._keys) :]
        exponents = np.exp(logits - logits.max(axis=1, keepdims=True))
        classes = exponents / exponents.sum(axis=1, keepdims=True)
        of_classes = classes[:, rows[:, _CLASS_ROWS].astype(np.int64)]
        found = np.einsum("bcj,cj->bc", of_classes, rows[:, _CLASS_SHARES]).clip(_FLOOR, 1 - _FLOOR)
        log_odds: Array = np.log(found) - np.log1p(-found)
        return log_odds


def evidence_of(head: HeadConfig, arrays: Mapping[str, Array]) -> Evidence | None:
    """Of a bundle's head and its tensors without the prefix `head.`; None for every other kind of head."""
    return None if head.evidence is None else Evidence(head, arrays)


def pool_tokens(tokens: Array, grid: tuple[int, int]) -> Array:
    """Tokens [B, P, D] of a grid, averaged by squares of `POOL`: [B, P', D]. What is left over at the right
    and at the bottom is not used."""
    height, width = grid[0] // POOL, grid[1] // POOL
    maps = tokens.reshape(len(tokens), *grid, tokens.shape[2])[:, : height * POOL, : width * POOL]
    squares = maps.reshape(len(tokens), height, POOL, width, POOL, tokens.shape[2])
    pooled: Array = squares.mean(axis=(2, 4)).reshape(len(tokens), height * width, tokens.shape[2])
    return pooled


def _share_of_words(to_known: Array, own: npt.NDArray[np.int64], rows: Array) -> None:
    """Fills in the known words near to each label and their shares; of a known word that one alone."""
    count = min(NEAR_WORDS, to_known.shape[1])
    best = np.argsort(-to_known, axis=1)[:, :count]
    found = np.take_along_axis(to_known, best, axis=1)
    shares = np.exp((found - found[:, :1]) / _NEAR_TEMPERATURE)
    shares /= shares.sum(axis=1, keepdims=True)
    known = own >= 0
    best[known, 0] = own[known]
    shares[known] = np.eye(1, count)
    rows[:, _WORD_ROWS][:, :count] = best
    rows[:, _WORD_SHARES][:, :count] = shares


def _gate(cosines: Array, cut: float) -> Array:
    """From 0 below `cut` to 1 above it."""
    return sigmoid(np.float32(_GATE) * (cosines - np.float32(cut)))


def _photographs(embeddings: Array, tokens: Array, words: Array | None) -> Photographs:
    return Photographs(embeddings, tokens, _some(words))


def _some(array: Array | None) -> Array:
    """What comes of the same checkpoint has it. Raises ValueError where it comes of another."""
    if array is None:
        raise ValueError("these features were made by another checkpoint")
    return array


def _unit(features: Array) -> Array:
    norms = np.linalg.norm(features, axis=-1, keepdims=True)
    unit: Array = features / np.maximum(norms, np.float32(1e-12))
    return unit
