"""Tags photographs with labels. Independent of HTTP."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from functools import partial
from itertools import islice
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, TypeAlias, Unpack

import numpy as np
from PIL import Image

from sigrl.model.engine import Engine, LabelFeatures
from sigrl.model.kept_features import KeptFeatures
from sigrl.model.processors import available_processors
from sigrl.model.vocabulary import Vocabulary
from sigrl.service.batching.turns import Turn
from sigrl.service.errors import ImageError, ModelError
from sigrl.service.images import files as image_files
from sigrl.service.images.decoder_pool import DecoderPool, pool_of
from sigrl.service.images.decoding import COPY_SIDE
from sigrl.service.images.files import ImageLimits
from sigrl.service.observability import metrics
from sigrl.service.schemas.tagging import Explanation, Tagging
from sigrl.service.settings import Settings, load_settings
from sigrl.service.tagging.engines import load_engine
from sigrl.service.tagging.explaining import Explain, explained
from sigrl.service.tagging.label_cache import Key, LabelCache
from sigrl.service.tagging.label_files import LabelFiles
from sigrl.service.tagging.scoring import Array, BatchItem, Question, ScoredImage, pixel_values, score_batch
from sigrl.service.tagging.selection import Selection, Thresholds
from sigrl.service.vocabularies import builtin as vocabularies

if TYPE_CHECKING:
    from sigrl.service.vocabularies.label_calibrator import Tower

CalibrateLabels: TypeAlias = Callable[["Tower", Vocabulary, LabelFeatures], LabelFeatures]
"""See `sigrl.service.vocabularies.label_calibrator.LabelCalibrator`."""
ImageSource = str | Path | bytes | Image.Image
"""A path, a file's content, or an image that was opened with Pillow."""
Labels = Sequence[str] | Vocabulary
"""Names of labels, or a whole vocabulary."""

_BATCH = 8
# Decoders release the GIL. With this many threads, decoding is usually faster than the model.
_DECODERS = min(4, available_processors())
_MOST_SECONDS = 600.0
"""Time limit for decoding one photograph, including the wait for those decoded before it."""


class Tagger:
    """Tags photographs with labels in the caller's own words.

        tagger = Tagger()
        tagger.tag("photo.jpg").labels                       # labels of the default vocabulary
        tagger.tag("photo.jpg", ["dog", "bicycle"]).tags     # those of the two labels that are present

    `sigrl.service.tagging.selection` describes which labels become tags and what `thresholds` may be. A
    tagger can be shared between threads; the image tower works for one thread at a time. All errors are
    `sigrl.service.errors.TaggerError`s.
    """

    def __init__(
        self,
        checkpoint: Path | str | None = None,
        vocabulary: Vocabulary | None = None,
        *,
        engine: Engine | None = None,
        limits: ImageLimits | None = None,
        label_cache_bytes: int = 256 * 1024 * 1024,
        label_files: LabelFiles | None = None,
        label_calibrator: CalibrateLabels | None = None,
        pool: DecoderPool | None = None,
    ) -> None:
        """Loads the checkpoint, which takes a second or two.

        Args:
            checkpoint: directory of a bundle; the one in the package if not given.
            vocabulary: used for calls without labels; the built-in `default` if not given.
            engine: used instead of loading one from `checkpoint`.
            limits: limits of a photograph's size.
            label_cache_bytes: memory for encoded labels.
            label_files: files that keep encoded labels for later processes.
            label_calibrator: fits labels to the examples of a calibrated vocabulary; without it, calibrated
                vocabularies cannot be used.
            pool: decodes photographs; made from the settings in the environment if not given.

        Raises:
            CheckpointError: the bundle cannot be used.
            ParameterError: an environment variable SIGRL_* requests a feature that is not available on this
                machine.
        """
        self.engine = engine if engine is not None else load_engine(checkpoint, load_settings())
        self.vocabulary = vocabulary if vocabulary is not None else vocabularies.builtin("default")
        self.limits = limits or ImageLimits()
        self._cache, self._files = LabelCache(label_cache_bytes), label_files
        self.label_calibrator = label_calibrator
        self._pool = pool or pool_of(load_settings())
        self._model = Lock()

    @classmethod
    def from_settings(cls, settings: Settings, label_calibrator: CalibrateLabels | None = None) -> "Tagger":
        """The tagger that the settings describe. Without `label_calibrator`, the examples of calibrated
        vocabularies are read from the settings' database when they are needed. Raises CheckpointError,
        InvalidLabelsError, ParameterError, StoreError."""
        # The vocabulary comes first, so that a misspelt name is reported without waiting for a model to load.
        vocabulary = vocabularies.find(settings.vocabulary, settings)
        return cls(
            vocabulary=vocabulary,
            engine=load_engine(settings.checkpoint, settings),
            limits=ImageLimits.of(settings),
            label_cache_bytes=settings.label_cache_bytes,
            label_files=LabelFiles.of(settings),
            label_calibrator=label_calibrator or partial(_calibrate_by_settings, settings),
            pool=pool_of(settings),
        )

    def tag(
        self,
        image: ImageSource,
        labels: Labels | None = None,
        *,
        top_k: int | None = None,
        **thresholds: Unpack[Thresholds],
    ) -> Tagging:
        """Tags one photograph. Without `labels`, the tagger's vocabulary is used.

        Raises ImageError, InvalidLabelsError, ParameterError, ModelError.
        """
        (result,) = self.tag_many([image], labels, top_k=top_k, **thresholds)
        if isinstance(result, ImageError):
            raise result
        return result

    def tag_many(
        self,
        images: Iterable[ImageSource],
        labels: Labels | None = None,
        *,
        top_k: int | None = None,
        **thresholds: Unpack[Thresholds],
    ) -> Iterator[Tagging | ImageError]:
        """Tags photographs in order, a few at a time. `images` is read as needed, a few ahead.

        For a photograph that cannot be tagged, the iterator yields its ImageError and continues with the
        next. Raises InvalidLabelsError and ParameterError at once, and ModelError during the iteration.
        """
        asked = () if labels is None else (self._vocabulary(labels),)
        selection = Selection(top_k, **thresholds, brief=not asked)
        results = self.tag_by_each(images, asked, selection)
        return (result if isinstance(result, ImageError) else result[0] for result in results)

    def tag_by_each(
        self, images: Iterable[ImageSource], asked: Sequence[Vocabulary], selection: Selection
    ) -> Iterator[tuple[Tagging, ...] | ImageError]:
        """Like `tag_many`, but with several vocabularies in one image pass: yields one tagging per vocabulary
        for each photograph. If `asked` is empty, the tagger's own vocabulary is used."""
        return self._tag_batches(iter(images), tuple(asked) or (self.vocabulary,), selection)

    def explain(
        self, image: ImageSource, labels: Labels | None = None, *, top_k: int | None = None
    ) -> Explanation:
        """Shows where on a photograph the model sees labels. Explains the `top_k` most probable labels; if
        `top_k` is not given, all labels of a list of at most 32, else the ten most probable.

        Raises ImageError, InvalidLabelsError, ParameterError, ModelError.
        """
        vocabulary = self._vocabulary(labels)
        selection = explained(vocabulary, top_k, brief=labels is None)
        values = self._pixel_values(image)
        if isinstance(values, ImageError):
            raise values
        question = Explain(self.engine, vocabulary, self.label_features(vocabulary), selection)
        (scored,) = self.score([BatchItem(values, (question,))])
        if isinstance(scored, ModelError):
            raise scored
        return question.answer(scored.scores[0])

    def prepare(self, labels: Labels | None = None, progress: Callable[[int], None] | None = None) -> None:
        """Encodes the labels before their first use. `progress` is called with the number of labels done.
        Raises InvalidLabelsError."""
        self.label_features(self._vocabulary(labels), progress)

    def question(self, vocabulary: Vocabulary, selection: Selection) -> Question:
        """A question to this tagger's checkpoint. Encodes the labels. Raises what `label_features` raises."""
        return Question(self.engine, vocabulary, self.label_features(vocabulary), selection)

    def label_features(
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

        def encode() -> LabelFeatures:
            # The turn covers only the encoding: a caller that waits for another's result must not hold a
            # turn, or the other could not work.
            with turn or nullcontext(), metrics.ENCODE_LABELS_SECONDS.time():
                return self.engine.encode_labels(vocabulary, progress if turn is None else turn.pause)

        def read_or_encode() -> LabelFeatures:
            return encode() if self._files is None else self._files.get(self.engine, vocabulary, encode)

        if vocabulary.calibration is None:
            return self._cache.get(self.label_key(vocabulary), read_or_encode)
        plain = vocabulary.model_copy(update={"calibration": None})

        def fit() -> LabelFeatures:
            assert self.label_calibrator is not None, "calibrated vocabularies come from a registry"
            return self.label_calibrator(self, vocabulary, self.label_features(plain, progress, turn))

        return self._cache.get(self.label_key(vocabulary), fit)

    def label_key(self, vocabulary: Vocabulary) -> Key:
        """The key of the vocabulary's features in the cache."""
        examples = ""
        if vocabulary.calibration is not None:
            examples = f"{vocabulary.name} {vocabulary.calibration} {vocabulary.calibrated}"
        return self.engine.checkpoint_id, vocabulary.texts_hash, examples

    def ready_label_features(self, vocabulary: Vocabulary) -> LabelFeatures | None:
        """The features of a vocabulary's labels if they are in memory, else None. Never waits."""
        return self._cache.find(self.label_key(vocabulary))

    def keep_images(self, photographs: Sequence[bytes]) -> list[KeptFeatures]:
        """Features of photographs that can be scored with other labels later, computed in one image pass.
        Raises ImageError."""
        values = [self.pixel_values(photograph) for photograph in photographs]
        if not values:
            return []
        with self._model:
            kept = self.engine.keep_images(self.engine.encode_images(np.stack(values)))
        return [kept.take(slice(row, row + 1)) for row in range(len(kept))]

    def pixel_values(self, photograph: bytes) -> Array:
        """The image tower's input for a photograph, float32 [3, S, S]. Raises ImageError."""
        found = self._pixel_values(photograph)
        if isinstance(found, ImageError):
            raise found
        return found

    def small_copy(self, photograph: bytes, side: int = COPY_SIDE) -> bytes:
        """See `sigrl.service.images.decoding.small_copy`. Raises ImageError."""
        return self._pool.small_copy(photograph, self.limits, time.monotonic() + _MOST_SECONDS, side)

    def score(self, works: Sequence[BatchItem]) -> list[ScoredImage | ModelError]:
        """See `sigrl.service.tagging.scoring.score_batch`. Serves one caller at a time."""
        with self._model:
            return score_batch(works)

    def _vocabulary(self, labels: Labels | None) -> Vocabulary:
        if labels is None:
            return self.vocabulary
        return labels if isinstance(labels, Vocabulary) else vocabularies.from_names(labels)

    def _tag_batches(
        self, sources: Iterator[ImageSource], asked: tuple[Vocabulary, ...], selection: Selection
    ) -> Iterator[tuple[Tagging, ...] | ImageError]:
        questions: tuple[Question, ...] = ()
        for batch in self._decoded(sources):
            readable = [values for values in batch if not isinstance(values, ImageError)]
            # No labels are encoded for a call whose photographs are all refused.
            if readable and not questions:
                questions = tuple(self.question(vocabulary, selection) for vocabulary in asked)
            scored = iter(
                self.score([BatchItem(values, questions) for values in readable]) if readable else ()
            )
            for values in batch:
                if isinstance(values, ImageError):
                    metrics.IMAGES_REFUSED.labels(values.code).inc()
                    yield values
                else:
                    yield _taggings(questions, next(scored))

    def _decoded(self, sources: Iterator[ImageSource]) -> Iterator[list[Array | ImageError]]:
        """Yields decoded batches. The next batch is decoded in threads while the caller works on this one."""
        with ThreadPoolExecutor(_DECODERS, "sigrl-decode") as threads:

            def begin() -> list[Future[Array | ImageError]]:
                return [threads.submit(self._pixel_values, source) for source in islice(sources, _BATCH)]

            following = begin()
            while batch := following:
                decoded = [each.result() for each in batch]
                following = begin()
                yield decoded

    def _pixel_values(self, source: ImageSource) -> Array | ImageError:
        """The image tower's input, float32 [3, S, S], or the error."""
        try:
            with metrics.DECODE_SECONDS.time():
                if isinstance(source, Image.Image):
                    return pixel_values(source, self.engine.preprocessing, may_shrink=False)
                data = source if isinstance(source, bytes) else image_files.read(Path(source), self.limits)
                deadline = time.monotonic() + _MOST_SECONDS
                return self._pool.pixel_values(data, self.limits, self.engine.preprocessing, deadline)
        except ImageError as error:
            return error


def _calibrate_by_settings(
    settings: Settings, tower: "Tower", vocabulary: Vocabulary, features: LabelFeatures
) -> LabelFeatures:
    # Imported here, so that the database modules are loaded only when they are needed.
    from sigrl.service.database.database import Database
    from sigrl.service.vocabularies.calibration_store import CalibrationStore
    from sigrl.service.vocabularies.label_calibrator import LabelCalibrator

    database = Database.open(settings)
    try:
        return LabelCalibrator(CalibrationStore(database))(tower, vocabulary, features)
    finally:
        database.close()


def _taggings(questions: tuple[Question, ...], scored: ScoredImage | ModelError) -> tuple[Tagging, ...]:
    if isinstance(scored, ModelError):
        raise scored
    metrics.IMAGES_TAGGED.inc()
    return tuple(question.answer(scores) for question, scores in zip(questions, scored.scores, strict=True))
