"""What tagging means, with no HTTP in it: photographs and labels in, tags out."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from threading import Lock

import numpy as np
import numpy.typing as npt
from PIL import Image

from model.engine import Engine, LabelFeatures
from model.preprocess import preprocess
from model.vocabulary import Vocabulary
from service import images, metrics, vocabularies
from service.engines import load_engine
from service.errors import ImageError, ModelError
from service.label_cache import LabelCache
from service.results import Tagging, VocabularyInfo
from service.selection import Selection
from service.settings import Settings, load_settings

ImageSource = str | Path | bytes | Image.Image
"""A path, a file's content, or an image opened by Pillow."""
Labels = Sequence[str] | Vocabulary
"""Names of labels, or a whole vocabulary."""

_BATCH = 8


class Tagger:
    """Tags photographs with labels in the caller's own words.

        tagger = Tagger()
        tagger.tag("photo.jpg").labels                       # from the default vocabulary
        tagger.tag("photo.jpg", ["dog", "bicycle"]).tags     # only these, those present

    Which labels become tags is told in `service.selection.Selection`. Safe to share between threads; the
    image tower works for one of them at a time. All errors are `service.errors.TaggerError`s with a hint.
    """

    def __init__(
        self,
        checkpoint: Path | str | None = None,
        vocabulary: Vocabulary | None = None,
        *,
        engine: Engine | None = None,
        limits: images.ImageLimits | None = None,
        label_cache_bytes: int = 256 * 1024 * 1024,
    ) -> None:
        """Loads the checkpoint, which takes a second or two.

        Args:
            checkpoint: directory of a bundle; the one in the package if not given.
            vocabulary: looked for when a call names no labels; the built-in `default` if not given.
            engine: used in place of one loaded from `checkpoint`.
            limits: what a photograph may cost.
            label_cache_bytes: memory for encoded labels.

        Raises:
            CheckpointError: the bundle cannot be used.
            ParameterError: an environment variable SIGRL_* asks for what this machine does not have.
        """
        self.engine = engine if engine is not None else load_engine(checkpoint, load_settings())
        self.vocabulary = vocabulary if vocabulary is not None else vocabularies.builtin("default")
        self.limits = limits or images.ImageLimits()
        self._cache = LabelCache(label_cache_bytes)
        self._model = Lock()
        metrics.CHECKPOINT.labels(self.engine.checkpoint_id).set(1)

    @classmethod
    def from_settings(cls, settings: Settings) -> "Tagger":
        """The tagger of an installation. Raises CheckpointError, InvalidLabelsError, ParameterError."""
        # The vocabulary first: a misspelt name should not cost the time to load a model.
        vocabulary = vocabularies.find(settings.vocabulary)
        return cls(
            vocabulary=vocabulary,
            engine=load_engine(settings.checkpoint, settings),
            limits=images.ImageLimits(settings.max_request_bytes, settings.max_image_pixels),
            label_cache_bytes=settings.label_cache_bytes,
        )

    def tag(
        self,
        image: ImageSource,
        labels: Labels | None = None,
        *,
        top_k: int | None = None,
        threshold: float | None = None,
    ) -> Tagging:
        """Tags one photograph. Without `labels` the tagger's vocabulary is looked for.

        Raises ImageError, InvalidLabelsError, ParameterError, ModelError.
        """
        (result,) = self.tag_many([image], labels, top_k=top_k, threshold=threshold)
        if isinstance(result, ImageError):
            raise result
        return result

    def tag_many(
        self,
        images: Iterable[ImageSource],
        labels: Labels | None = None,
        *,
        top_k: int | None = None,
        threshold: float | None = None,
    ) -> Iterator[Tagging | ImageError]:
        """Tags photographs one after the other, in order and a few at a time; `images` is read as needed.

        A photograph that cannot be tagged gives its ImageError, returned and not raised, and the others their
        tags. Raises InvalidLabelsError and ParameterError at once, ModelError while it is iterated.
        """
        vocabulary = self._vocabulary(labels)
        selection = Selection(top_k, threshold, brief=labels is None)
        return self._tag_batches(iter(images), vocabulary, selection)

    def prepare(self, labels: Labels | None = None, progress: Callable[[int], None] | None = None) -> None:
        """Encodes the labels ahead of their first use; `progress` gets the number done. Raises
        InvalidLabelsError."""
        self._label_features(self._vocabulary(labels), progress)

    def _vocabulary(self, labels: Labels | None) -> Vocabulary:
        if labels is None:
            return self.vocabulary
        return labels if isinstance(labels, Vocabulary) else vocabularies.from_names(labels)

    def _label_features(
        self, vocabulary: Vocabulary, progress: Callable[[int], None] | None = None
    ) -> LabelFeatures:
        def encode() -> LabelFeatures:
            with metrics.ENCODE_LABELS_SECONDS.time():
                return self.engine.encode_labels(vocabulary, progress)

        return self._cache.get((self.engine.checkpoint_id, vocabulary.content_hash), encode)

    def _tag_batches(
        self, sources: Iterator[ImageSource], vocabulary: Vocabulary, selection: Selection
    ) -> Iterator[Tagging | ImageError]:
        info = VocabularyInfo.of(vocabulary)
        thresholds = selection.thresholds(vocabulary, self.engine.default_threshold)
        while batch := [self._pixel_values(source) for source in islice(sources, _BATCH)]:
            readable = [values for values in batch if not isinstance(values, ImageError)]
            # Nothing is encoded for a request whose photographs are all refused.
            rows = iter(zip(*self._score(np.stack(readable), vocabulary), strict=True) if readable else ())
            for values in batch:
                if isinstance(values, ImageError):
                    metrics.IMAGES_REFUSED.labels(values.code).inc()
                    yield values
                else:
                    tags = selection.choose(vocabulary.names, *next(rows), thresholds)
                    metrics.IMAGES_TAGGED.inc()
                    yield Tagging(tags=tags, checkpoint=self.engine.checkpoint_id, vocabulary=info)

    def _pixel_values(self, source: ImageSource) -> npt.NDArray[np.float32] | ImageError:
        """float32 [3, S, S], or why not."""
        preprocessing = self.engine.preprocessing
        try:
            with metrics.DECODE_SECONDS.time():
                if isinstance(source, Image.Image):
                    rgb = images.to_rgb(source)
                else:
                    data = source if isinstance(source, bytes) else images.read(Path(source), self.limits)
                    # Twice the tower's input leaves the resize's own filter the last word on every pixel.
                    rgb = images.decode(data, self.limits, minimum_side=2 * preprocessing.image_size)
                return preprocess(rgb, preprocessing)
        except ImageError as error:
            return error

    def _score(
        self, pixel_values: npt.NDArray[np.float32], vocabulary: Vocabulary
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Logits and probabilities, float32 [B, C] each."""
        # Outside the lock: a long list of labels must not hold up those whose labels are encoded already.
        label_features = self._label_features(vocabulary)
        with self._model:
            with metrics.ENCODE_IMAGES_SECONDS.time():
                image_features = self.engine.encode_images(pixel_values)
            with metrics.SCORE_SECONDS.time():
                logits = self.engine.score(image_features, label_features)
                probabilities = self.engine.probabilities(logits)
        if not np.isfinite(logits).all():
            raise ModelError("the checkpoint gave scores that are no numbers", "use another checkpoint")
        return logits, probabilities
