"""Tags photographs with labels. Independent of HTTP."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Unpack

from sigrl.model.engine import Engine
from sigrl.model.vocabulary import Vocabulary
from sigrl.service.errors import ImageError, ModelError
from sigrl.service.images.decoder_pool import DecoderPool, pool_of
from sigrl.service.images.files import ImageLimits
from sigrl.service.observability import metrics
from sigrl.service.schemas.tagging import Explanation, Tagging
from sigrl.service.settings import Settings, load_settings
from sigrl.service.tagging.encoded_labels import CalibrateLabels, EncodedLabels, calibrate_by_settings
from sigrl.service.tagging.engines import load_engine
from sigrl.service.tagging.explaining import Explain, explained
from sigrl.service.tagging.image_tower import ImageSource, ImageTower
from sigrl.service.tagging.label_files import LabelFiles
from sigrl.service.tagging.scoring import BatchItem, Question, ScoredImage
from sigrl.service.tagging.selection import Selection, Thresholds
from sigrl.service.vocabularies import builtin as vocabularies

Labels = Sequence[str] | Vocabulary
"""Names of labels, or a whole vocabulary."""


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
        self.tower = ImageTower(self.engine, pool or pool_of(load_settings()), limits or ImageLimits())
        self.labels = EncodedLabels(self.tower, label_cache_bytes, label_files, label_calibrator)

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
            label_calibrator=label_calibrator or partial(calibrate_by_settings, settings),
            pool=pool_of(settings),
        )

    def tag(
        self,
        image: ImageSource,
        labels: Labels | None = None,
        *,
        top_k: int | None = None,
        language: str | None = None,
        **thresholds: Unpack[Thresholds],
    ) -> Tagging:
        """Tags one photograph. Without `labels`, the tagger's vocabulary is used. `language`, a BCP 47 tag,
        names the tags of a vocabulary in that language; names in `labels` are read in it.

        Raises ImageError, InvalidLabelsError, ParameterError, ModelError.
        """
        (result,) = self.tag_many([image], labels, top_k=top_k, language=language, **thresholds)
        if isinstance(result, ImageError):
            raise result
        return result

    def tag_many(
        self,
        images: Iterable[ImageSource],
        labels: Labels | None = None,
        *,
        top_k: int | None = None,
        language: str | None = None,
        **thresholds: Unpack[Thresholds],
    ) -> Iterator[Tagging | ImageError]:
        """Tags photographs in order, a few at a time. `images` is read as needed, a few ahead.

        For a photograph that cannot be tagged, the iterator yields its ImageError and continues with the
        next. Raises InvalidLabelsError and ParameterError at once, and ModelError during the iteration.
        """
        asked = () if labels is None else (self._vocabulary(labels, language),)
        languages = _languages(labels, language)
        selection = Selection(top_k, **thresholds, brief=not asked, languages=languages)
        results = self.tag_by_each(images, asked, selection)
        return (result if isinstance(result, ImageError) else result[0] for result in results)

    def tag_by_each(
        self, images: Iterable[ImageSource], asked: Sequence[Vocabulary], selection: Selection
    ) -> Iterator[tuple[Tagging, ...] | ImageError]:
        """Like `tag_many`, but with several vocabularies in one image pass: yields one tagging per vocabulary
        for each photograph. If `asked` is empty, the tagger's own vocabulary is used."""
        return self._tag_batches(iter(images), tuple(asked) or (self.vocabulary,), selection)

    def explain(
        self,
        image: ImageSource,
        labels: Labels | None = None,
        *,
        top_k: int | None = None,
        language: str | None = None,
    ) -> Explanation:
        """Shows where on a photograph the model sees labels. Explains the `top_k` most probable labels. If
        `top_k` is not given: without `labels` the tags of the photograph, or its guesses; else all labels of
        a list of at most 32, or the ten most probable.

        Raises ImageError, InvalidLabelsError, ParameterError, ModelError.
        """
        vocabulary = self._vocabulary(labels, language)
        languages = _languages(labels, language)
        selection = explained(vocabulary, top_k, brief=labels is None, languages=languages)
        values = self.tower.pixel_values(image)
        question = Explain(self.engine, vocabulary, self.labels.features(vocabulary), selection)
        (scored,) = self.tower.score([BatchItem(values, (question,))])
        if isinstance(scored, ModelError):
            raise scored
        return question.answer(scored.scores[0])

    def prepare(self, labels: Labels | None = None, progress: Callable[[int], None] | None = None) -> None:
        """Encodes the labels before their first use. `progress` is called with the number of labels done.
        Raises InvalidLabelsError."""
        self.labels.features(self._vocabulary(labels), progress)

    def question(self, vocabulary: Vocabulary, selection: Selection) -> Question:
        """A question to this tagger's checkpoint. Raises as `EncodedLabels.features` does."""
        return Question(self.engine, vocabulary, self.labels.features(vocabulary), selection)

    def _vocabulary(self, labels: Labels | None, language: str | None = None) -> Vocabulary:
        if labels is None:
            return self.vocabulary
        return labels if isinstance(labels, Vocabulary) else vocabularies.from_names(labels, language)

    def _tag_batches(
        self, sources: Iterator[ImageSource], asked: tuple[Vocabulary, ...], selection: Selection
    ) -> Iterator[tuple[Tagging, ...] | ImageError]:
        questions: tuple[Question, ...] = ()
        for batch in self.tower.batches(sources):
            readable = [values for values in batch if not isinstance(values, ImageError)]
            # No labels are encoded for a call whose photographs are all refused.
            if readable and not questions:
                questions = tuple(self.question(vocabulary, selection) for vocabulary in asked)
            scored = iter(
                self.tower.score([BatchItem(values, questions) for values in readable]) if readable else ()
            )
            for values in batch:
                if isinstance(values, ImageError):
                    metrics.IMAGES_REFUSED.labels(values.code).inc()
                    yield values
                else:
                    yield _taggings(questions, next(scored))


def _taggings(questions: tuple[Question, ...], scored: ScoredImage | ModelError) -> tuple[Tagging, ...]:
    if isinstance(scored, ModelError):
        raise scored
    metrics.IMAGES_TAGGED.inc()
    return tuple(question.answer(scores) for question, scores in zip(questions, scored.scores, strict=True))


def _languages(labels: Labels | None, language: str | None) -> tuple[str, ...]:
    """The languages for the names of tags: labels in the caller's own words keep them."""
    return (language,) if language and (labels is None or isinstance(labels, Vocabulary)) else ()
