"""The evidence head: scores any label from a word tower's logits, the joint space and the graph over scores.

Everything after the towers is computed here, in NumPy, so that every engine gives the same scores. With a
photograph's embedding e, patch tokens, logits k of the known words and class probabilities q, the score of a
label c is a calibrated logit:

    s_c = a_c z_c + b_c + g_c logit(q . M_c) + sum_j w_cj k_j
          + m_c sum_j <Q v_c, K v_j> (sigmoid(k_j) - p_j) + f_c u_c + d_c y_c

k are the image tower's logits, after words of which a photograph seldom shows both have lowered each other's
(`sigrl.model.rival_words`) and classes have raised those that they are kinds of
(`sigrl.model.class_evidence`).

z is global and local matching: e and the tokens against the label's embedding v. M_c spreads the label over
the classifier's classes by their names; g_c is 0 for a known word. w_c weights the label's own known word, or
the words near it. The sum after it is GMC on scores: all known words on the photograph count for or against
c. u_c is what the words and classes below a broader word say (`sigrl.model.broader_words`), and y_c is what
all words and classes say about a word of captions (`sigrl.model.caption_words`).
a_c, b_c, g_c, w_c, m_c, f_c and d_c make up the label's row (`describe`). They depend on the label and the
checkpoint alone, so no score depends on the other labels in the request. docs/method.md describes the head in
full.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from sigrl.model.broader_words import BROADER_GAINS, BroaderWords
from sigrl.model.calibration import sigmoid
from sigrl.model.caption_words import CAPTION_GAINS, CaptionWords
from sigrl.model.class_evidence import ClassEvidence, mixed
from sigrl.model.config import BackboneConfig, HeadConfig
from sigrl.model.evidence_arrays import GAINS, check_arrays
from sigrl.model.features import unit_norm
from sigrl.model.kept_features import KeptFeatures
from sigrl.model.label_facts import (
    NEAR_WORDS,
    TOP_CLASSES,
    LabelFacts,
    gate,
    label_features,
    near_classes,
    near_words,
    own_row,
    rows_of_names,
    spread,
    standardised,
)
from sigrl.model.rival_words import RivalWords
from sigrl.model.vocabulary import Label

Array = npt.NDArray[np.float32]

_SCALE, _OFFSET, _CLASS_GAIN, _GRAPH_GATE, _FAMILIARITY, _NEW = range(6)
_CLASS_ROWS = slice(6, 6 + TOP_CLASSES)
_CLASS_SHARES = slice(_CLASS_ROWS.stop, _CLASS_ROWS.stop + TOP_CLASSES)
_WORD_ROWS = slice(_CLASS_SHARES.stop, _CLASS_SHARES.stop + NEAR_WORDS)
_WORD_SHARES = slice(_WORD_ROWS.stop, _WORD_ROWS.stop + NEAR_WORDS)
_QUERY = _WORD_SHARES.stop
_ROW, _GAIN = range(2)
"""Behind the query: two columns for broader words, if the checkpoint has any, then two for words of captions,
if it has any."""


@dataclass(frozen=True, eq=False)
class Photographs:
    """The image tower's output for B photographs."""

    embeddings: Array
    """[B, D]"""
    tokens: Array
    """[B, P, D], pooled: see `sigrl.model.features.pool_tokens`."""
    word_logits: Array
    """[B, K + classes]"""


class Pieces(NamedTuple):
    """The pieces of evidence from B photographs for C labels, [B, C] each."""

    matching: Array
    """Global and local matching, not calibrated."""
    classes: Array
    """Log odds of the label's classes."""
    words: Array
    """Logits of the label's known words, weighted by their shares."""
    graph: Array
    """GMC on scores: the evidence of all known words for or against the label."""
    below: Array
    """What the known words and classes below a broader word say; 0 for other labels."""
    captions: Array
    """What all known words and classes say about a word of captions; 0 for other labels."""


class Evidence:
    """The head of one checkpoint."""

    def __init__(self, head: HeadConfig, arrays: Mapping[str, Array]) -> None:
        """`arrays` are those of `shapes` and the three scales that every head in the context form has."""
        assert head.evidence is not None
        self._rows = rows_of_names(head.evidence.known_words)
        self._arrays = arrays
        self._scales = (
            float(np.exp(arrays["log_global_scale"])),
            float(np.exp(arrays["log_local_scale"])),
            float(arrays["bias"]),
        )
        self._gains = dict(zip(GAINS, arrays["gains"].tolist(), strict=True))
        self._new_word_threshold = head.evidence.new_word_threshold
        self._top_k = head.top_k
        self._keys = arrays["known_labels"] @ arrays["graph_key"]
        self._classes = ClassEvidence(head.evidence, arrays)
        self._rivals = RivalWords(head.evidence, arrays)
        self._broader = BroaderWords(head.evidence, arrays, self._classes)
        if head.evidence.broader_words:
            self._gains |= dict(zip(BROADER_GAINS, arrays["broader_gains"].tolist(), strict=True))
        self._captions = CaptionWords(head.evidence, arrays)
        if head.evidence.caption_words:
            self._gains |= dict(zip(CAPTION_GAINS, arrays["caption_gains"].tolist(), strict=True))
        # Checkpoints without kinds were fitted with labels that are spread over the classes near them.
        self._own_cut = self._gains["own_cut"] if head.evidence.kind_pairs else None
        self._query = slice(_QUERY, _QUERY + head.evidence.rank)
        broader, captions = (
            2 * bool(of) for of in (head.evidence.broader_words, head.evidence.caption_words)
        )
        self._below_columns = slice(self._query.stop, self._query.stop + broader)
        self._caption_columns = slice(self._below_columns.stop, self._below_columns.stop + captions)
        self.width = self._caption_columns.stop

    def describe(self, labels: Sequence[Label], unit: Array, background: KeptFeatures) -> Array:
        """The rows [C, width] of labels with embeddings `unit` [C, D] of unit norm."""
        return self._weighed(self.facts(labels, unit, background))

    def score(self, photographs: Photographs, unit: Array, rows: Array | None) -> Array:
        """Calibrated logits [B, C] of labels with embeddings `unit` [C, D] and `rows` [C, width]."""
        rows = _some(rows)
        found = self.pieces(photographs, unit, rows)
        scores = rows[:, _SCALE] * found.matching + rows[:, _OFFSET]
        scores += rows[:, _CLASS_GAIN] * found.classes + found.words
        scores += rows[:, _GRAPH_GATE] * found.graph
        for columns, said in ((self._below_columns, found.below), (self._caption_columns, found.captions)):
            if columns.stop > columns.start:
                scores += rows[:, columns.start + _GAIN] * said
        calibrated: Array = scores.astype(np.float32)
        return calibrated

    def score_kept(self, photographs: KeptFeatures, unit: Array, rows: Array | None) -> Array:
        """Like `score`, for N photographs that an engine kept: [N, C]."""
        return photographs.logits(
            lambda embeddings, tokens, words: self.score(_photographs(embeddings, tokens, words), unit, rows)
        )

    def familiarity(self, rows: Array) -> Array:
        """How well each label's text is known, in 0..1 [C]."""
        known: Array = rows[:, _FAMILIARITY].copy()
        return known

    def thresholds(self, rows: Array, default: float) -> Array:
        """Each label's threshold [C]: `default`, except for new words if the head has one for them."""
        own = default if self._new_word_threshold is None else self._new_word_threshold
        return np.where(rows[:, _NEW] > 0, np.float32(own), np.float32(default))

    def pieces(self, photographs: Photographs, unit: Array, rows: Array) -> Pieces:
        """The terms that `score` adds up, for labels with embeddings `unit` [C, D] and `rows` [C, width].
        It reads only the shares and the query of these rows."""
        classes = self._classes.probabilities(photographs.word_logits)
        known = self._known(photographs.word_logits, classes)
        messages = (sigmoid(known) - self._arrays["known_prior"]) @ self._keys
        return Pieces(
            self._matching(photographs, unit),
            self._classes.log_odds(classes, rows[:, _CLASS_ROWS], rows[:, _CLASS_SHARES]),
            mixed(known, rows[:, _WORD_ROWS], rows[:, _WORD_SHARES]),
            messages @ rows[:, self._query].T,
            self._broader.logits(known, classes, _rows_of(rows[:, self._below_columns])),
            self._captions.logits(photographs.word_logits, _rows_of(rows[:, self._caption_columns])),
        )

    def pieces_of_kept(self, photographs: KeptFeatures, unit: Array, rows: Array) -> Pieces:
        """Like `pieces`, for photographs that an engine kept."""

        def stacked(embeddings: Array, tokens: Array, words: Array | None) -> Array:
            return np.stack(self.pieces(_photographs(embeddings, tokens, words), unit, rows), axis=2)

        return Pieces(*np.moveaxis(photographs.logits(stacked), 2, 0))

    def facts(self, labels: Sequence[Label], unit: Array, background: KeptFeatures) -> LabelFacts:
        """The facts about labels with embeddings `unit` [C, D] of unit norm. They depend on the arrays of
        texts and of the graph, on the gains of kinds and on `own_cut`, not on any other weight."""
        arrays = self._arrays
        rows = np.zeros((len(labels), self.width), np.float32)
        to_known = unit @ arrays["known_labels"].T
        to_lexicon = unit @ arrays["lexicon"].T
        class_rows, class_shares, nearest_class = near_classes(
            unit, arrays["class_labels"], arrays["class_rows"], self._own_cut
        )
        own_word = np.array([own_row(label, self._rows) for label in labels])
        word_rows, word_shares = near_words(to_known, own_word)
        for columns, filled in (
            (_CLASS_ROWS, class_rows),
            (_CLASS_SHARES, class_shares),
            (_WORD_ROWS, word_rows),
            (_WORD_SHARES, word_shares),
        ):
            rows[:, columns][:, : filled.shape[1]] = filled
        rows[:, self._query] = unit @ arrays["graph_query"]
        known = own_word >= 0
        broader, captions = (np.where(known, -1, of.rows(labels)) for of in (self._broader, self._captions))
        for columns, words in ((self._below_columns, broader), (self._caption_columns, captions)):
            if columns.stop > columns.start:
                rows[:, columns.start + _ROW] = words
        nearest = np.where(known, 1.0, to_known.max(axis=1)).astype(np.float32)
        found = self.pieces_of_kept(background, unit, rows)
        mean, deviation = spread(found.matching)
        return LabelFacts(
            rows=rows,
            known=known,
            broader=broader >= 0,
            in_captions=captions >= 0,
            nearest_known=nearest,
            nearest_class=nearest_class,
            nearest_lexicon=to_lexicon.max(axis=1),
            mean=mean,
            deviation=deviation,
            classes=found.classes.mean(axis=0),
            words=found.words.mean(axis=0),
            features=label_features(
                labels, found.matching, nearest, nearest_class, to_lexicon, arrays["lexicon_counts"]
            ),
        )

    def _weighed(self, facts: LabelFacts) -> Array:
        """The labels' rows [C, width]: the facts and all weights."""
        arrays, gains = self._arrays, self._gains
        rows, known = facts.rows.copy(), facts.known
        features = standardised(facts.features, arrays["feature_mean"], arrays["feature_deviation"])
        near_gate = gate(facts.nearest_known, gains["near_cut"])
        own = np.where(known, 0, gate(facts.nearest_class, gains["own_cut"]))
        class_gain = gains["new_class"] * gate(facts.nearest_class, gains["class_cut"])
        slope = np.exp(features @ arrays["slope"])
        word_gain = np.where(known, gains["known_word"], (1 - own) * gains["near_words"] * near_gate)
        rows[:, _WORD_SHARES] *= word_gain[:, None]
        new_offset = features @ arrays["offset"] - class_gain * facts.classes
        new_scale = ((1 - own) * slope + own * gains["own_open"]) / facts.deviation
        offset = (1 - own) * new_offset + own * gains["own_offset"]
        offset = offset - new_scale * facts.mean - word_gain * facts.words
        rows[:, _SCALE] = np.where(known, gains["known_open"], new_scale)
        rows[:, _OFFSET] = np.where(known, gains["known_offset"], offset)
        rows[:, _CLASS_GAIN] = np.where(known, 0, (1 - own) * class_gain + own * gains["own_class"])
        rows[:, _GRAPH_GATE] = gains["graph"] * np.where(known, 1, near_gate)
        for name, columns, is_such in (
            ("broader_word", self._below_columns, facts.broader),
            ("caption_word", self._caption_columns, facts.in_captions),
        ):
            if columns.stop > columns.start:
                share = (1 - own) * is_such
                rows[:, columns.start + _GAIN] = gains[name] * share
                rows[:, _OFFSET] += gains[f"{name}_offset"] * share
        rows[:, _FAMILIARITY] = facts.familiarity
        rows[:, _NEW] = ~known & (own < 0.5)
        return rows

    def _matching(self, photographs: Photographs, unit: Array) -> Array:
        """Global and local matching [B, C], not calibrated."""
        global_scale, local_scale, bias = self._scales
        seen = np.concatenate([photographs.tokens, photographs.embeddings[:, None]], axis=1)
        count, positions = seen.shape[:2]
        # One product for the whole batch reads the labels once. A label's cosines lie side by side,
        # [C, B, P + 1], because NumPy partitions the last axis fastest.
        cosines = unit @ unit_norm(seen).reshape(-1, seen.shape[2]).T
        cosines = cosines.reshape(len(unit), count, positions)
        local, of_whole = cosines[:, :, :-1], cosines[:, :, -1]
        first = local.shape[2] - min(self._top_k, local.shape[2])
        local.partition(first, axis=2)
        best = np.einsum("cbk->bc", local[:, :, first:]) / (local.shape[2] - first)
        matched: Array = global_scale * of_whole.T + bias + np.float32(local_scale) * best
        return matched

    def known_logits(self, word_logits: Array) -> Array:
        """Logits [B, K] of the known words, as `pieces` uses them; `word_logits` [B, K + classes] are the
        image tower's."""
        return self._known(word_logits, self._classes.probabilities(word_logits))

    def _known(self, word_logits: Array, classes: Array) -> Array:
        # Rivals come first: the classes' probabilities add up to one, so classes already lower each other.
        own = word_logits[:, : len(self._keys)]
        return self._classes.raised(self._rivals.lowered(own), classes)


def evidence_of(head: HeadConfig, backbone: BackboneConfig, arrays: Mapping[str, Array]) -> Evidence | None:
    """Builds an evidence head from its tensors, named without the prefix `head.`; None for other heads.
    Raises ValueError for arrays that do not fit the configuration or the image tower."""
    if head.evidence is None:
        return None
    assert backbone.words is not None
    check_arrays(head.evidence, backbone.embed_dim, backbone.words.classes, arrays)
    return Evidence(head, arrays)


def _photographs(embeddings: Array, tokens: Array, words: Array | None) -> Photographs:
    return Photographs(embeddings, tokens, _some(words))


def _rows_of(columns: Array) -> npt.NDArray[np.int64]:
    """The word of a list that each label is [C], or -1, from its `columns` [C, 2], or [C, 0] without a
    list."""
    return columns[:, _ROW].astype(np.int64) if columns.shape[1] else np.full(len(columns), -1, np.int64)


def _some(array: Array | None) -> Array:
    """The array, which all features of this checkpoint have. Raises ValueError if it is None."""
    if array is None:
        raise ValueError("these features were made by another checkpoint")
    return array
