"""The offset and slope that turn a new word's logits into probabilities, learned from labelled words."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from sigrl.model.calibration import lower_quartile
from sigrl.model.logistic import fit_logistic
from sigrl.training.measures.metrics import expected_calibration_error

OFFSET = -5.3
SLOPE_IN_SPREADS = 0.6
"""Used when nothing is labelled: the values of two compact checkpoints (offsets of -5.2 and -5.4, slopes of
0.95 and 1.0). The slope is in units of the distance between a common name's median on the background and its
lower quartile."""
_FOLDS = 8
_DEVIATIONS = np.array([2.0, 0.5])
"""Prior standard deviations of the offset, and of the slope relative to itself."""
_LEAST_SPREAD = 1e-3

Logits = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int8]


class NewWords(NamedTuple):
    """See `sigrl.model.calibration.CalibrationConfig`."""

    offset: float
    slope: float

    def logits(self, scores: Logits, background: Logits) -> Logits:
        """Calibrated logits [M, C] of scores [M, C], given the labels' scores on the background [N, C]."""
        logits: Logits = self.offset + self.slope * (scores - lower_quartile(background))
        return logits.astype(np.float32)


def expected_new_words(background: Logits) -> NewWords:
    """The calibration when nothing is labelled, from the scores [N, C] of common names on the background
    set."""
    spread = float(np.median(np.median(background, axis=0) - lower_quartile(background)))
    return NewWords(OFFSET, SLOPE_IN_SPREADS / max(spread, _LEAST_SPREAD))


def fit_new_words(scores: Logits, labels: Labels, background: Logits, expected: NewWords) -> NewWords:
    """The calibration fitted to labels [M, C] (+1, -1, 0 unknown) and the scores [M, C] of their photographs,
    as if none of these words had been trained. It stays near `expected` where there are few labels."""
    known = labels != 0
    raised = (scores - lower_quartile(background))[known].astype(np.float64)
    features = np.stack([np.ones_like(raised), expected.slope * raised], axis=1)
    start = np.array([expected.offset, 1.0])
    offset, factor = fit_logistic(features, labels[known] > 0, start, _DEVIATIONS)
    # The slope stays positive whatever the labels say, so the order of scores never reverses.
    return NewWords(float(offset), max(float(factor), 0.1) * expected.slope)


class LeftOut(NamedTuple):
    """Calibration errors in percent, averaged over the labels. Each label is left out of the fit it is
    measured with."""

    as_they_come: float
    """The error of the logits themselves."""
    as_new_words: float


def leave_labels_out(scores: Logits, labels: Labels, background: Logits, expected: NewWords) -> LeftOut:
    """The error of the labels' probabilities if they were new words. Arguments as in `fit_new_words`."""
    logits = np.empty_like(scores)
    columns = np.arange(scores.shape[1])
    for fold in range(_FOLDS):
        out, others = columns % _FOLDS == fold, columns % _FOLDS != fold
        fitted = expected
        if others.any():
            fitted = fit_new_words(scores[:, others], labels[:, others], background[:, others], expected)
        logits[:, out] = fitted.logits(scores[:, out], background[:, out])
    return LeftOut(_error(scores, labels), _error(logits, labels))


def _error(logits: Logits, labels: Labels) -> float:
    probabilities = 1 / (1 + np.exp(-np.clip(logits.astype(np.float64), -40, 40)))
    error = expected_calibration_error(probabilities, labels > 0, known=labels != 0)
    return float(np.nanmean(error.per_label))
