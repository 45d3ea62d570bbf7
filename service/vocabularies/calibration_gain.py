"""What a calibration gains, measured on its own examples."""

import numpy as np
import numpy.typing as npt

from sigrl.model.engine import Engine, LabelFeatures
from sigrl.model.kept_features import KeptFeatures
from sigrl.model.label_calibration import Goal
from sigrl.service.schemas.calibration import CalibrationGain

FEWEST = 10
"""With fewer examples, the numbers would say nothing."""
_FOLDS = 5
_DIGITS = 4

Decisions = npt.NDArray[np.bool_]


def gain(
    engine: Engine,
    features: LabelFeatures,
    examples: KeptFeatures | None,
    labels: npt.NDArray[np.int8],
    goal: Goal,
) -> CalibrationGain | None:
    """Cross-validates a calibration in five folds: each example is decided by a calibration with the others.

    Args:
        engine: the checkpoint.
        features: those of the labels without the calibration.
        examples: N photographs.
        labels: [N, C], +1 where a label applies, -1 where it does not, 0 where that is unknown.
        goal: the calibration's goal.

    Returns None if there are fewer than `FEWEST` examples, or no label applies to any.
    """
    counted: Decisions = (labels > 0).sum(0) > 0
    if examples is None or len(examples) < FEWEST or not counted.any():
        return None
    after = np.zeros(labels.shape, np.bool_)
    folds = np.arange(len(examples)) % _FOLDS
    for fold in range(_FOLDS):
        others, held_out = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        fitted = engine.calibrate_by_examples(features, examples.take(others), labels[others], goal)
        after[held_out] = _decided(engine, fitted, examples.take(held_out))
    before = _decided(engine, features, examples)
    return CalibrationGain(
        before=round(_macro_f1(before, labels, counted), _DIGITS),
        after=round(_macro_f1(after, labels, counted), _DIGITS),
        labels=int(counted.sum()),
    )


def _decided(engine: Engine, features: LabelFeatures, photographs: KeptFeatures) -> Decisions:
    found = engine.probabilities(engine.score_kept(photographs, features), features)
    return found >= engine.thresholds(features)


def _macro_f1(decided: Decisions, labels: npt.NDArray[np.int8], counted: Decisions) -> float:
    """The mean F1 of the counted labels, over the pairs that are marked."""
    right = (decided & (labels > 0)).sum(0)
    wrong = (decided & (labels < 0)).sum(0)
    missed = (~decided & (labels > 0)).sum(0)
    return float((2 * right / np.maximum(2 * right + wrong + missed, 1))[counted].mean())
