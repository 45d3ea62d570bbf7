"""Words that captions mention, predicted from the image tower's logits, as arrays of an evidence head."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from sigrl.model.caption_words import CAPTION_GAINS
from sigrl.model.logistic import fit_logistic
from sigrl.training.tasks.everyday.trained import Trained, tower_logits

Array = npt.NDArray[np.float32]

DEFAULT_CAPTION_GAINS = {"caption_word": 0.36, "caption_word_offset": 3.9}
"""Near those that were fitted on words left out of a training."""
_RIDGE = 0.03
"""The penalty of the ridge regression, in variances of a standardised logit. Of 0.01, 0.03, 0.1 and 0.3, the
first two rank left-out words best on photographs of `everyday`'s train and val splits."""
_PRIOR_DEVIATIONS = np.array([10.0, 1.0])
"""Of a word's log odds at the mean prediction, and of their rise with a deviation of the prediction."""
_LEAST_DEVIATION = 1e-4


class Captioned(NamedTuple):
    """The words of captions of a head; both are empty if there are none."""

    words: tuple[str, ...]
    arrays: dict[str, Array]
    """`caption_*` of `sigrl.model.evidence_arrays.shapes`."""


def caption_words(trained: Trained, known: npt.NDArray[np.integer]) -> Captioned:
    """The words that enough photographs with captions mention; `known` are the known words with their own
    logit."""
    rows = np.array(
        [row for row in np.flatnonzero(trained.trained_on) if trained.photographs[row].captions], np.int64
    )
    mentions = np.zeros((len(rows), len(trained.targets.words)), bool)
    for place, row in enumerate(rows):
        mentions[place, list(trained.targets.mentions[row])] = True
    chosen = np.flatnonzero(mentions.sum(axis=0) >= trained.config.known_words.captions)
    if not len(chosen):
        return Captioned((), {})
    weights, bias = predict_mentions(tower_logits(trained, rows, known), mentions[:, chosen])
    gains = np.array([DEFAULT_CAPTION_GAINS[name] for name in CAPTION_GAINS], np.float32)
    return Captioned(
        tuple(trained.targets.words[word] for word in chosen),
        {"caption_weights": weights, "caption_bias": bias, "caption_gains": gains},
    )


def predict_mentions(logits: Array, mentions: npt.NDArray[np.bool_]) -> tuple[Array, Array]:
    """Weights [V, L] and bias [V] of a linear map from `logits` [N, L] to the log odds of `mentions` [N, V]:
    a ridge regression for all words at once, then a logistic regression on its prediction for each word."""
    mean, deviation = logits.mean(axis=0), logits.std(axis=0) + np.float32(_LEAST_DEVIATION)
    inputs = (logits - mean) / deviation
    penalty = np.float32(_RIDGE) * np.eye(inputs.shape[1], dtype=np.float32)
    correlations = inputs.T @ (mentions - mentions.mean(axis=0, dtype=np.float32)) / len(inputs)
    weights = np.linalg.solve(inputs.T @ inputs / len(inputs) + penalty, correlations).T
    predicted = inputs @ weights.T
    spread = predicted.std(axis=0) + np.float32(_LEAST_DEVIATION)
    offsets, slopes = np.array(
        [
            _log_odds(found, mentioned)
            for found, mentioned in zip((predicted / spread).T, mentions.T, strict=True)
        ],
        np.float32,
    ).T
    weights = (slopes / spread)[:, None] * weights / deviation
    bias: Array = offsets - weights @ mean
    return weights.astype(np.float32), bias.astype(np.float32)


def _log_odds(predicted: Array, mentioned: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """Offset and slope that turn predictions [N] into log odds."""
    features = np.stack([np.ones_like(predicted), predicted], axis=1).astype(np.float64)
    share = (mentioned.sum() + 0.5) / (len(mentioned) + 1)
    return fit_logistic(features, mentioned, np.array([np.log(share / (1 - share)), 1.0]), _PRIOR_DEVIATIONS)
