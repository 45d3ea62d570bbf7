"""The label features of one checkpoint: encoded on the first use, cached, and calibrated."""

from collections.abc import Callable
from contextlib import nullcontext
from typing import TYPE_CHECKING, TypeAlias

from sigrl.model.engine import LabelFeatures
from sigrl.model.vocabulary import Vocabulary
from sigrl.service.batching.turns import Turn
from sigrl.service.observability import metrics
from sigrl.service.settings import Settings
from sigrl.service.tagging.freed_memory import return_freed_memory
from sigrl.service.tagging.image_tower import ImageTower
from sigrl.service.tagging.label_cache import Key, LabelCache
from sigrl.service.tagging.label_files import LabelFiles

if TYPE_CHECKING:
    from sigrl.service.vocabularies.label_calibrator import Tower

CalibrateLabels: TypeAlias = Callable[["Tower", Vocabulary, LabelFeatures], LabelFeatures]
"""See `sigrl.service.vocabularies.label_calibrator.LabelCalibrator`."""

_MANY_LABELS = 1_000
"""From this number of labels, encoding leaves hundreds of megabytes of freed memory in the process."""


class EncodedLabels:
    """Looks in memory, then in files, and only then encodes labels. Can be shared between threads."""

    def __init__(
        self,
        tower: ImageTower,
        cache_bytes: int,
        files: LabelFiles | None = None,
        calibrator: CalibrateLabels | None = None,
    ) -> None:
        """`calibrator`: fits labels to the examples of a calibrated vocabulary; without it, calibrated
        vocabularies cannot be used."""
        self._tower, self._files = tower, files
        self._cache = LabelCache(cache_bytes)
        self.calibrator = calibrator

    def features(
        self,
        vocabulary: Vocabulary,
        progress: Callable[[int], None] | None = None,
        turn: Turn | None = None,
    ) -> LabelFeatures:
        """The features of a vocabulary's labels, encoded on the first use and fitted to the vocabulary's
        examples if it has any. `progress` is called with the number of labels done. If a `turn` is given, it
        is used instead of `progress` and lets others work between slices.

        Raises AbandonedError if the turn is abandoned, and CalibrationNotFoundError, ExamplesError and
        StoreError for the examples.
        """
        engine = self._tower.engine

        def encode() -> LabelFeatures:
            # The turn covers only the encoding: a caller that waits for another's result must not hold a
            # turn, or the other could not work.
            try:
                with turn or nullcontext(), metrics.ENCODE_LABELS_SECONDS.time():
                    return engine.encode_labels(vocabulary, progress if turn is None else turn.pause)
            finally:
                if len(vocabulary.labels) >= _MANY_LABELS:
                    return_freed_memory()

        def read_or_encode() -> LabelFeatures:
            return encode() if self._files is None else self._files.get(engine, vocabulary, encode)

        if vocabulary.calibration is None:
            return self._cache.get(self.key(vocabulary), read_or_encode)
        plain = vocabulary.model_copy(update={"calibration": None})

        def fit() -> LabelFeatures:
            assert self.calibrator is not None, "calibrated vocabularies come from a registry"
            return self.calibrator(self._tower, vocabulary, self.features(plain, progress, turn))

        return self._cache.get(self.key(vocabulary), fit)

    def key(self, vocabulary: Vocabulary) -> Key:
        """The key of the vocabulary's features in the cache."""
        examples = ""
        if vocabulary.calibration is not None:
            examples = f"{vocabulary.name} {vocabulary.calibration} {vocabulary.calibrated}"
        return self._tower.engine.checkpoint_id, vocabulary.texts_hash, examples

    def in_memory(self, vocabulary: Vocabulary) -> LabelFeatures | None:
        """The features of a vocabulary's labels if they are in memory, else None. Never waits."""
        return self._cache.find(self.key(vocabulary))


def calibrate_by_settings(
    settings: Settings, tower: "Tower", vocabulary: Vocabulary, features: LabelFeatures
) -> LabelFeatures:
    """Fits the features to the vocabulary's examples in the settings' database, which is opened for this call
    only. Raises as `LabelCalibrator` does."""
    # Imported here, so that the database modules are loaded only when they are needed.
    from sigrl.service.database.database import Database
    from sigrl.service.vocabularies.calibration_store import CalibrationStore
    from sigrl.service.vocabularies.label_calibrator import LabelCalibrator

    database = Database.open(settings)
    try:
        return LabelCalibrator(CalibrationStore(database))(tower, vocabulary, features)
    finally:
        database.close()
