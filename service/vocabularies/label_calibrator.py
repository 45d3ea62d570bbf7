"""Fits the label features of a checkpoint to the examples of a vocabulary."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from sigrl.model.calibration import calibration_error
from sigrl.model.engine import Engine, LabelFeatures
from sigrl.model.example_marks import overruled
from sigrl.model.kept_features import KeptFeatures, join
from sigrl.model.vocabulary import Vocabulary
from sigrl.service.errors import ExamplesError
from sigrl.service.schemas.calibration import CalibrationGain, CalibrationGoal
from sigrl.service.vocabularies.calibration_gain import gain
from sigrl.service.vocabularies.calibration_store import CalibrationStore, not_calibrated
from sigrl.service.vocabularies.examples import Calibration

_BATCH = 8


class Tower(Protocol):
    """A checkpoint with its image tower."""

    @property
    def engine(self) -> Engine:
        """The checkpoint."""
        ...

    def keep_images(self, photographs: Sequence[bytes]) -> list[KeptFeatures]:
        """The features of each photograph, in the same order."""
        ...


class LabelCalibrator:
    """Fits each checkpoint separately, because the scores of two checkpoints cannot be compared. An example
    goes through a checkpoint's image tower once, and its features are kept in the database."""

    def __init__(self, store: CalibrationStore) -> None:
        self._store = store

    def __call__(self, tower: Tower, vocabulary: Vocabulary, features: LabelFeatures) -> LabelFeatures:
        """The features of a calibrated vocabulary, which give probabilities and thresholds fitted to its
        examples.

        Raises CalibrationNotFoundError, StoreError, and ExamplesError when the checkpoint cannot do what the
        calibration asks for.
        """
        if vocabulary.calibration is None:
            raise not_calibrated(vocabulary.name)
        goal, joined, labels = self._examples(tower, vocabulary, vocabulary.calibration)
        try:
            return tower.engine.calibrate_by_examples(features, joined, labels, goal.of_model)
        except ValueError as error:
            raise ExamplesError(
                f"the vocabulary '{vocabulary.name}' cannot be calibrated on this checkpoint: {error}",
                "choose another goal, or another checkpoint",
            ) from error

    def error(self, tower: Tower, vocabulary: Vocabulary, features: LabelFeatures) -> float | None:
        """The calibration error of a checkpoint on the examples of a calibrated vocabulary, in 0..1; None
        without examples. The checkpoint was fitted to the same examples, so the number compares checkpoints
        and says nothing about other photographs. Raises as a call does."""
        if vocabulary.calibration is None:
            return None
        _, joined, labels = self._examples(tower, vocabulary, vocabulary.calibration)
        if joined is None or not labels.any():
            return None
        logits = tower.engine.score_kept(joined, features)
        return calibration_error(tower.engine.probabilities(logits, features), labels)

    def gain(self, tower: Tower, vocabulary: Vocabulary, features: LabelFeatures) -> CalibrationGain | None:
        """What the calibration of a vocabulary gains; `features` are those without it. Raises as a call
        does."""
        if vocabulary.calibration is None:
            raise not_calibrated(vocabulary.name)
        goal, joined, labels = self._examples(tower, vocabulary, vocabulary.calibration)
        return gain(tower.engine, features, joined, labels, goal.of_model)

    def overruled(self, tower: Tower, vocabulary: Vocabulary, features: LabelFeatures) -> tuple[int, ...]:
        """For each label of a calibrated vocabulary, how many examples its threshold decides against their
        mark; `features` are those that a call returned. Raises as a call does."""
        if vocabulary.calibration is None:
            raise not_calibrated(vocabulary.name)
        _, joined, labels = self._examples(tower, vocabulary, vocabulary.calibration)
        if joined is None:
            return (0,) * len(vocabulary.labels)
        found = tower.engine.probabilities(tower.engine.score_kept(joined, features), features)
        return tuple(overruled(found, labels, tower.engine.thresholds(features)).tolist())

    def _examples(
        self, tower: Tower, vocabulary: Vocabulary, number: int
    ) -> tuple[CalibrationGoal, KeptFeatures | None, npt.NDArray[np.int8]]:
        """(goal, features of the N examples, their marks [N, C]: +1 right, -1 wrong, 0 not marked)."""
        calibration = self._store.get(vocabulary.name, number, vocabulary.calibrated)
        examples = dict(_telling(calibration, vocabulary))
        kept = self._features(tower, list(examples))
        digests = sorted(kept)
        labels = np.zeros((len(digests), len(vocabulary.labels)), np.int8)
        columns = {name: column for column, name in enumerate(vocabulary.names)}
        for row, digest in enumerate(digests):
            for name, applies in examples[digest].items():
                if name in columns:
                    labels[row, columns[name]] = 1 if applies else -1
        joined = join([kept[digest] for digest in digests]) if digests else None
        return calibration.goal, joined, labels

    def _features(self, tower: Tower, digests: list[str]) -> dict[str, KeptFeatures]:
        checkpoint = tower.engine.checkpoint_id
        kept = self._store.features(checkpoint, digests)
        missing = [digest for digest in digests if digest not in kept]
        for start in range(0, len(missing), _BATCH):
            photographs = self._store.photographs(missing[start : start + _BATCH])
            new = dict(zip(photographs, tower.keep_images(list(photographs.values())), strict=True))
            self._store.keep_features(checkpoint, new)
            kept |= new
        return kept


def _telling(calibration: Calibration, vocabulary: Vocabulary) -> list[tuple[str, Mapping[str, bool]]]:
    """The examples with a mark for at least one label that the vocabulary has now."""
    names = set(vocabulary.names)
    return [(digest, shown) for digest, shown in calibration.examples if not names.isdisjoint(shown)]
