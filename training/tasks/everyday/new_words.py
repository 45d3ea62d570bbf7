"""Fits the weights of new words, from words that were left out of a training."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from sigrl.model.broader_words import BROADER_GAINS
from sigrl.model.calibration import sigmoid
from sigrl.model.caption_words import CAPTION_GAINS
from sigrl.model.evidence import Pieces
from sigrl.model.label_facts import GATE, LabelFacts, standardised
from sigrl.model.vocabulary import Label
from sigrl.training.tasks.everyday.broader import DEFAULT_BROADER_GAINS
from sigrl.training.tasks.everyday.caption_words import DEFAULT_CAPTION_GAINS
from sigrl.training.tasks.everyday.draft import DEFAULT_GAINS, DEFAULT_OFFSET, DEFAULT_SLOPE, Draft
from sigrl.training.tasks.everyday.evaluation import measure_logits
from sigrl.training.tasks.everyday.trained import dense_rows, keep_photographs, known_labels, text_vectors
from sigrl.training.terminal import progress_bar

Array = npt.NDArray[np.float32]

GAINS = ("new_class", "class_cut", "near_words", "near_cut", *BROADER_GAINS, *CAPTION_GAINS)
"""The gains that are fitted here: some of `sigrl.model.evidence_arrays.GAINS`, and those of broader words and
of words of captions."""
_DEFAULTS = DEFAULT_GAINS | DEFAULT_BROADER_GAINS | DEFAULT_CAPTION_GAINS
_LEAST_FEATURE_DEVIATION = 1e-3
_STEPS = 800
_RATE = 0.02
_LOSS_SCALE = 100.0
_DECAY = 2.0
"""Penalty on the features' effect on slope and offset, because there are few words to learn it from. Of
0.02, 0.2, 2, 10 and 50, this has the best log-likelihood on words that the weights were not fitted to."""
_FOLDS = 5
_NEARLY = 0.97
_THRESHOLDS = (0.5, 0.45, 0.4, 0.35, 0.3, 0.25, 0.2, 0.15, 0.1)


@dataclass(frozen=True, eq=False)
class Shown:
    """The scores of W words on N photographs with a background; all pieces are [N, W]."""

    matching: Array
    """Deviations from the background's mean."""
    classes: Array
    """Log odds."""
    words: Array
    """Logits of nearby words, minus the background's mean."""
    below: Array
    """What the words and classes below a broader word say."""
    captions: Array
    """What all words and classes say about a word of captions."""
    broader: Array
    """[W]: 1 for a broader word, 0 for others."""
    in_captions: Array
    """[W]: 1 for a word of captions, 0 for others."""
    background_classes: Array
    """[W]: mean log odds on the background."""
    features: Array
    """[W, 1 + F]: a one, then standardised features."""
    nearest_known: Array
    """[W]: cosine."""
    nearest_class: Array
    """[W]: cosine."""
    labels: npt.NDArray[np.int8]
    """[N, W]: +1, -1, and 0 for unknown."""

    @classmethod
    def made(cls, facts: LabelFacts, found: Pieces, features: Array, labels: npt.NDArray[np.int8]) -> "Shown":
        """Combines the facts about the words with the photographs' pieces of evidence."""
        return cls(
            matching=(found.matching - facts.mean) / facts.deviation,
            classes=found.classes,
            words=found.words - facts.words,
            below=found.below,
            captions=found.captions,
            broader=facts.broader.astype(np.float32),
            in_captions=facts.in_captions.astype(np.float32),
            background_classes=facts.classes,
            features=features,
            nearest_known=facts.nearest_known,
            nearest_class=facts.nearest_class,
            labels=labels,
        )

    def of(self, words: npt.NDArray[np.integer]) -> "Shown":
        """The same for some of the words."""
        return Shown(
            self.matching[:, words],
            self.classes[:, words],
            self.words[:, words],
            self.below[:, words],
            self.captions[:, words],
            self.broader[words],
            self.in_captions[words],
            self.background_classes[words],
            self.features[words],
            self.nearest_known[words],
            self.nearest_class[words],
            self.labels[:, words],
        )


class NewWords(NamedTuple):
    """Weights in the form of an evidence head's arrays and gains."""

    slope: Array
    """[1 + F]."""
    offset: Array
    """[1 + F]."""
    gains: dict[str, float]

    def logits(self, shown: Shown) -> Array:
        """Calibrated logits [N, W], equal to those of `sigrl.model.evidence` with a graph without effect."""
        gains = torch.tensor([self.gains[name] for name in GAINS])
        with torch.inference_mode():
            found: Array = _logits(
                torch.from_numpy(self.slope), torch.from_numpy(self.offset), gains, _tensors(shown)
            ).numpy()
        return found


class Fitted(NamedTuple):
    """The result of the fit to left-out words."""

    arrays: dict[str, Array]
    """The arrays for an evidence head."""
    gains: dict[str, float]
    threshold: float
    """With the best F1 on the photographs of the fit, each word with weights that were fitted without it."""
    measured: dict[str, float]
    """In percent, on the test photographs; each word with weights that were fitted without it."""


def fit_left_out(draft: Draft, names: tuple[str, ...]) -> Fitted:
    """Fits the head of a training without `names` on `everyday`'s train and val photographs that were not
    searched for, and measures it on the test photographs."""
    fitting, mean, deviation = _shown(draft, names, dense_rows(draft.trained, "train", "val", sought=False))
    fitted = fit(fitting)
    seed = draft.trained.config.training.seed
    threshold = best_threshold(crosswise(fitting, fitting, seed), fitting.labels)
    test_rows = dense_rows(draft.trained, "test", sought=True)
    measured = {}
    if len(test_rows):
        test, _, _ = _shown(draft, names, test_rows)
        logits = crosswise(fitting, test, seed)
        measured = measure_logits("left-out words", logits, test.labels, threshold)
    arrays = {
        "slope": fitted.slope,
        "offset": fitted.offset,
        "feature_mean": mean,
        "feature_deviation": deviation,
    }
    return Fitted(arrays, fitted.gains, threshold, measured)


def fit(shown: Shown) -> NewWords:
    """The likeliest weights, with those of features kept near 0."""
    slope, offset = (torch.zeros(shown.features.shape[1]) for _ in range(2))
    slope[0], offset[0] = DEFAULT_SLOPE, DEFAULT_OFFSET
    gains = torch.tensor([_DEFAULTS[name] for name in GAINS])
    parameters = [one.requires_grad_() for one in (slope, offset, gains)]
    given = _tensors(shown)
    labels = torch.from_numpy(shown.labels)
    known, positive = (labels != 0).float(), (labels > 0).float()
    optimizer = torch.optim.Adam(parameters, _RATE)
    with progress_bar() as progress:
        bar = progress.add_task("weights of new words", total=_STEPS, note="")
        for _ in range(_STEPS):
            logits = _logits(slope, offset, gains, given)
            losses = functional.binary_cross_entropy_with_logits(logits, positive, reduction="none")
            loss = _LOSS_SCALE * (losses * known).sum() / known.sum().clamp(min=1)
            loss = loss + _DECAY * (slope[1:].square().sum() + offset[1:].square().sum())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            progress.update(bar, advance=1, note=f"loss {loss.item():.2f}")
    values = dict(zip(GAINS, gains.tolist(), strict=True))
    return NewWords(slope.detach().numpy(), offset.detach().numpy(), values)


def crosswise(fitting: Shown, other: Shown, seed: int) -> Array:
    """Logits [M, W] of the same words on other photographs, each with weights that were fitted without it."""
    words = fitting.labels.shape[1]
    logits = np.zeros(other.labels.shape, np.float32)
    order = np.random.default_rng(seed).permutation(words)
    for fold in np.array_split(order, min(_FOLDS, words)):
        rest = np.setdiff1d(order, fold)
        if len(fold) and len(rest):
            logits[:, fold] = fit(fitting.of(rest)).logits(other.of(fold))
    return logits


def best_threshold(logits: Array, labels: npt.NDArray[np.int8]) -> float:
    """The probability from which words are shown, for the best F1 over all pairs of logits and labels [N, W]
    together: the highest with nearly this F1, because a wrong tag is worse than a missing one. 0.5 if no word
    applies."""
    known = labels != 0
    positive = (labels > 0) & known
    if not positive.any():
        return _THRESHOLDS[0]
    found = sigmoid(logits)
    f1 = []
    for threshold in _THRESHOLDS:
        shown = (found >= threshold) & known
        f1.append(2 * (shown & positive).sum() / (shown.sum() + positive.sum()))
    return next(one for one, reached in zip(_THRESHOLDS, f1, strict=True) if reached >= _NEARLY * max(f1))


def _shown(draft: Draft, names: tuple[str, ...], rows: npt.NDArray[np.int64]) -> tuple[Shown, Array, Array]:
    """The scores of words on photographs, and mean and deviation [F] of the words' features."""
    trained, evidence = draft.trained, draft.evidence
    unit = text_vectors(trained, names, "left-out words")
    facts = evidence.facts([Label(name=name) for name in names], unit, draft.background)
    kept = keep_photographs(trained, rows, draft.words)
    found = evidence.pieces_of_kept(kept, unit, facts.rows)
    mean = facts.features.mean(axis=0)
    deviation = facts.features.std(axis=0) + np.float32(_LEAST_FEATURE_DEVIATION)
    known_words = trained.targets.known_words
    labels = known_labels(trained, rows)[:, [known_words.index(name) for name in names]]
    shown = Shown.made(facts, found, standardised(facts.features, mean, deviation), labels)
    return shown, mean, deviation


class _Given(NamedTuple):
    matching: Tensor
    classes: Tensor
    words: Tensor
    below: Tensor
    captions: Tensor
    broader: Tensor
    in_captions: Tensor
    background_classes: Tensor
    features: Tensor
    nearest_known: Tensor
    nearest_class: Tensor


def _tensors(shown: Shown) -> _Given:
    return _Given(*(torch.from_numpy(np.asarray(getattr(shown, name))) for name in _Given._fields))


def _logits(slope: Tensor, offset: Tensor, gains: Tensor, given: _Given) -> Tensor:
    new_class, class_cut, near_words, near_cut, below, below_offset, captions, captions_offset = gains
    # Not fitted, because the left-out words are broad and would let a fine-grained kind pass for its
    # siblings.
    own_class, own_open, own_offset = (
        DEFAULT_GAINS[name] for name in ("own_class", "own_open", "own_offset")
    )
    own = _gate(given.nearest_class, torch.tensor(DEFAULT_GAINS["own_cut"]))
    classes = new_class * _gate(given.nearest_class, class_cut) * (given.classes - given.background_classes)
    words = near_words * _gate(given.nearest_known, near_cut) * given.words
    scale = (given.features @ slope).exp()
    broader = given.broader * (below * given.below + below_offset)
    mentioned = given.in_captions * (captions * given.captions + captions_offset)
    new = scale * given.matching + given.features @ offset + classes + words + broader + mentioned
    as_class = own_class * given.classes + own_open * given.matching + own_offset
    logits: Tensor = (1 - own) * new + own * as_class
    return logits


def _gate(cosines: Tensor, cut: Tensor) -> Tensor:
    open_to: Tensor = torch.sigmoid(GATE * (cosines - cut))
    return open_to
