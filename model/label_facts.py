"""Facts about labels before they are weighted: how they match the background set, and which known texts are
near. `sigrl.model.evidence` and the fit of its weights both use them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import numpy.typing as npt

from sigrl.model.calibration import sigmoid
from sigrl.model.vocabulary import Label
from sigrl.model.word_forms import base_forms, plain

Array = npt.NDArray[np.float32]

TOP_CLASSES = 20
"""Largest number of classes that one label is the name of."""
_SPREAD = 8
"""Number of classes that any other label is spread over."""
NEAR_WORDS = 4
"""Number of known words that contribute to a label's score."""
GATE = 40.0
"""Sharpness with which a cosine decides whether a class or a word is close enough to count."""
_SAME_NAME = 0.01
"""Classes with the same name differ by less than this in their cosine to a label."""
_CLASS_TEMPERATURE = 0.04
_NEAR_TEMPERATURE = 0.05
_CLIP = 4.0
"""Features of a label are clipped to this many deviations from their mean."""
_LEAST_DEVIATION = 1e-6

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
"""The features of a new word: its scores on the background set, and the position of its text among the texts
seen in training."""

FAMILIAR = (0.38, 0.68)
"""Familiarity rises from 0 to 1 between these cosines to the nearest text seen in training."""


@dataclass(frozen=True, eq=False)
class LabelFacts:
    """The facts about C labels."""

    rows: Array
    """[C, width]: input of `sigrl.model.evidence.Evidence.pieces`, with the shares of classes and words and
    the graph's query filled in, but no weights."""
    known: npt.NDArray[np.bool_]
    """[C]: whether the label is a known word."""
    broader: npt.NDArray[np.bool_]
    """[C]: whether it is a broader word of the checkpoint, and not a known one."""
    in_captions: npt.NDArray[np.bool_]
    """[C]: whether it is a word of captions of the checkpoint, and not a known one."""
    nearest_known: Array
    """[C]: cosine of the nearest known word; 1 for a known word."""
    nearest_class: Array
    """[C]: cosine of the nearest class."""
    nearest_lexicon: Array
    """[C]: cosine of the nearest word seen in training."""
    mean: Array
    """[C]: mean of the matching on the background."""
    deviation: Array
    """[C]: deviation of the matching on the background; above 0."""
    classes: Array
    """[C]: mean log odds of its classes on the background."""
    words: Array
    """[C]: mean logit of the nearby words on the background."""
    features: Array
    """[C, F]: the `FEATURES`, not standardised."""

    @property
    def familiarity(self) -> Array:
        """How well each label's text is known, in 0..1 [C]."""
        low, high = FAMILIAR
        best = np.maximum(np.maximum(self.nearest_known, self.nearest_class), self.nearest_lexicon)
        familiar: Array = np.where(self.broader, 1, np.clip((best - low) / (high - low), 0, 1))
        return familiar


def rows_of_names(known_words: Sequence[Sequence[str]]) -> dict[str, int]:
    """Name, as `own_row` compares it -> index among the known words, each a word and its synonyms."""
    rows = {plain(name): row for row, names in enumerate(known_words) for name in names[1:]}
    # A word's own name takes precedence over the same name as another word's synonym.
    return rows | {plain(names[0]): row for row, names in enumerate(known_words)}


def own_row(label: Label, rows: Mapping[str, int]) -> int:
    """The index of the known word that the label is, in any form, or -1. A label with its own prompts may
    mean something else."""
    if label.prompts:
        return -1
    names = map(plain, (label.english, *label.synonyms))
    # "Glasses" are no drinking glass: the singular of a known word is not looked for.
    forms = chain.from_iterable((name, *base_forms(name)) for name in names)
    return next((rows[form] for form in forms if form in rows), -1)


def near_classes(
    unit: Array, class_labels: Array, class_rows: Array, own_cut: float | None
) -> tuple[Array, Array, Array]:
    """The classes nearest to each label [C, n], its share in each [C, n], and the nearest one's cosine [C].

    `unit` [C, D] are the labels' embeddings and `class_labels` [T, D] those of the classes' names, all of
    unit norm; `class_rows` [T] is the class of each name. A label that is the name of classes, by a cosine
    above `own_cut`, stands for all of these together; any other is spread over the nearest ones, and so are
    all with None.
    """
    of_names = unit @ class_labels.T
    rows = class_rows.astype(np.int64)
    similarity = np.full((len(unit), int(rows.max()) + 1), -1, np.float32)
    np.maximum.at(similarity.T, rows, of_names.T)
    best = np.argsort(-similarity, axis=1)[:, :TOP_CLASSES]
    found = np.take_along_axis(similarity, best, axis=1)
    nearest: Array = found[:, 0]
    shares = np.exp((found - found[:, :1]) / _CLASS_TEMPERATURE)
    shares[:, _SPREAD:] = 0
    weights = nearest[:, None] * shares / shares.sum(axis=1, keepdims=True)
    if own_cut is not None:
        own = gate(nearest, own_cut)[:, None]
        weights = own * (found >= found[:, :1] - _SAME_NAME) + (1 - own) * weights
    return best.astype(np.float32), weights, nearest


def near_words(to_known: Array, own: npt.NDArray[np.int64]) -> tuple[Array, Array]:
    """The known words nearest to each label [C, n] and their shares [C, n], by cosines `to_known` [C, K]. A
    label that is the known word `own` [C] gets only that one (-1: it is not known)."""
    best = np.argsort(-to_known, axis=1)[:, :NEAR_WORDS]
    found = np.take_along_axis(to_known, best, axis=1)
    shares = np.exp((found - found[:, :1]) / _NEAR_TEMPERATURE)
    shares /= shares.sum(axis=1, keepdims=True)
    known = own >= 0
    best[known, 0] = own[known]
    shares[known] = np.eye(1, best.shape[1])
    return best.astype(np.float32), shares


def spread(matching: Array) -> tuple[Array, Array]:
    """Mean [C] and deviation [C], above 0, of matching scores [N, C]."""
    mean: Array = matching.mean(axis=0)
    deviation: Array = matching.std(axis=0) + np.float32(_LEAST_DEVIATION)
    return mean, deviation


def label_features(
    labels: Sequence[Label],
    matching: Array,
    nearest_known: Array,
    nearest_class: Array,
    to_lexicon: Array,
    lexicon_counts: Array,
) -> Array:
    """The `FEATURES` of labels [C, F], from matching on the background [N, C], cosines [C], and cosines to
    the words seen in training [C, W]."""
    mean, deviation = spread(matching)
    standard = (matching - mean) / deviation
    nearest = to_lexicon.max(axis=1)
    counts = lexicon_counts[to_lexicon.argmax(axis=1)] * np.maximum(nearest, 0)
    features: Array = np.stack(
        [
            mean,
            np.log(deviation),
            *np.quantile(standard, (0.9, 0.99, 0.999), axis=0),
            (standard**3).mean(axis=0),
            nearest_known,
            nearest_class,
            nearest,
            counts,
            [len(label.english.split()) for label in labels],
        ],
        axis=1,
    ).astype(np.float32)
    return features


def standardised(features: Array, mean: Array, deviation: Array) -> Array:
    """Features [C, F] with mean 0 and deviation 1, clipped, after a leading one: [C, 1 + F]."""
    scaled = np.clip((features - mean) / deviation, -_CLIP, _CLIP)
    behind_one: Array = np.hstack([np.ones((len(features), 1)), scaled]).astype(np.float32)
    return behind_one


def gate(cosines: Array, cut: float) -> Array:
    """A smooth step from 0 below `cut` to 1 above it."""
    return sigmoid(np.float32(GATE) * (cosines - np.float32(cut)))
