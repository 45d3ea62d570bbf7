"""The steps from photographs to tags, which are the same for one request and for many requests at once."""

import time
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property, lru_cache, partial

import numpy as np
import numpy.typing as npt
from PIL import Image

from sigrl.model.config import Preprocessing
from sigrl.model.engine import Engine, ImageFeatures, LabelFeatures
from sigrl.model.kept_features import KeptFeatures
from sigrl.model.label_calibration import EverydayGoal
from sigrl.model.label_warnings import warnings
from sigrl.model.preprocess import preprocess
from sigrl.model.vocabulary import Vocabulary
from sigrl.service.errors import ModelError, ParameterError
from sigrl.service.images import decoding as images
from sigrl.service.observability import metrics
from sigrl.service.schemas.tagging import LabelWarning, Tagging, VocabularyUsed
from sigrl.service.tagging.selection import SURE, Selection, verdicts
from sigrl.service.vocabularies import builtin as vocabularies
from sigrl.service.vocabularies.english import is_english

Array = npt.NDArray[np.float32]
MOST_DOUBTFUL = 0.3
"""Upper limit of the probability of a label that the checkpoint cannot judge."""
QUICK_LABELS = 1024
"""For so many labels, choosing tags takes less time than a change of threads."""


def pixel_values(image: Image.Image, preprocessing: Preprocessing, *, may_shrink: bool) -> Array:
    """The image tower's input for an opened photograph, float32 [3, S, S].

    With `may_shrink`, a large photograph is reduced while it is decoded, which changes `image`; see
    `images.to_rgb`. Raises ImageError.
    """
    # At twice the tower's input size, the filter of the final resize still determines every pixel.
    rgb = images.to_rgb(image, 2 * preprocessing.image_size if may_shrink else None)
    return preprocess(rgb, preprocessing)


@dataclass(frozen=True)
class Scores:
    """The output of the head for one photograph and one vocabulary."""

    logits: Array
    """One logit per label, float32 [C]."""
    probabilities: Array
    """One probability per label, float32 [C]."""
    closer: Array | KeptFeatures | None = None
    """The result that `Question.look_closer` adds, if any."""


@dataclass(frozen=True, eq=False)
class Question:
    """One vocabulary, its features from one checkpoint, and the selection of labels that become tags. A
    request makes it once and keeps it to the end, so that checkpoints are never mixed in one answer."""

    engine: Engine
    vocabulary: Vocabulary
    features: LabelFeatures
    selection: Selection

    def __post_init__(self) -> None:
        """Raises ParameterError if the vocabulary lacks the language that is asked for."""
        self.selection.language(self.vocabulary)

    @property
    def is_quick(self) -> bool:
        """Whether `answer` takes less time than a change of threads."""
        return len(self.vocabulary.labels) <= QUICK_LABELS

    @property
    def goal(self) -> EverydayGoal | None:
        """The goal that thresholds follow from: the request's, or the vocabulary's if the request sets no
        thresholds."""
        return self.selection.goal if self.selection.sets_thresholds else self.vocabulary.goal

    @cached_property
    def thresholds(self) -> npt.NDArray[np.float64]:
        """The thresholds of the labels, float64 [C]. Raises ParameterError if the checkpoint cannot meet the
        goal."""
        return self.selection.thresholds(self.vocabulary, self._found_thresholds(), self._doubts)

    def _found_thresholds(self) -> Array:
        if self.goal is not None:
            try:
                return self.engine.thresholds_for(self.features, self.goal)
            except ValueError as error:
                (name,) = (each.name for each in fields(self.goal))
                raise ParameterError(
                    f"the {name} cannot be kept: {error}", "give a threshold, or another checkpoint"
                ) from error
        found = self.engine.thresholds(self.features)
        if self.selection.brief and self.engine.calibrated and self.vocabulary.calibration is None:
            return np.full_like(found, SURE)
        if vocabularies.is_builtin(self.vocabulary):
            # Nobody asked for its labels one by one, so each must be likely to apply.
            return np.maximum(found, np.float32(self.engine.default_threshold))
        return found

    @cached_property
    def _doubts(self) -> dict[int, str]:
        """The warnings about labels that the checkpoint cannot judge, by row. There are none for a built-in
        vocabulary or for one that is calibrated with examples."""
        if vocabularies.is_builtin(self.vocabulary) or self.vocabulary.calibration is not None:
            return {}
        foreign = _foreign_rows(_Texts(self.vocabulary.texts_hash, self.vocabulary))
        return warnings(self.vocabulary.absences, foreign, self.engine.familiarity(self.features))

    @cached_property
    def warnings(self) -> tuple[LabelWarning, ...]:
        """The warnings about labels, as reported in the answer."""
        names = self.vocabulary.names
        return tuple(LabelWarning(label=names[row], message=told) for row, told in self._doubts.items())

    @cached_property
    def _info(self) -> VocabularyUsed:
        return VocabularyUsed.by(self.engine, self.vocabulary)

    def answer(self, scores: Scores) -> Tagging:
        """The tags of one photograph."""
        chosen = self.selection.choose(
            self.vocabulary, scores.logits, self._believed(scores.probabilities), self.thresholds
        )
        return Tagging(
            tags=chosen.tags,
            implied=chosen.implied,
            guesses=chosen.guesses,
            checkpoint=self.engine.checkpoint_id,
            vocabulary=self._info,
            warnings=self.warnings,
        )

    def _believed(self, probabilities: Array) -> Array:
        """The probabilities [C], limited to `MOST_DOUBTFUL` for labels that the checkpoint cannot judge."""
        if not self._doubts:
            return probabilities
        believed, rows = probabilities.copy(), list(self._doubts)
        believed[rows] = np.minimum(believed[rows], np.float32(MOST_DOUBTFUL))
        return believed

    def look_closer(self, scores: Scores, _: Callable[[], ImageFeatures]) -> Scores:
        """Adds further model results for one photograph, in the model's thread. For tags, adds nothing."""
        return scores

    def verdicts(self, scores: Scores) -> tuple[npt.NDArray[np.floating], npt.NDArray[np.bool_]]:
        """See `sigrl.service.tagging.selection.verdicts`."""
        return verdicts(self.vocabulary, self._believed(scores.probabilities), self.thresholds)


@dataclass(frozen=True)
class _Texts:
    """The texts of a vocabulary's labels: equal if the hashes are."""

    hash: str
    vocabulary: Vocabulary = field(compare=False, repr=False)


# Kept from request to request, because 10,000 labels take twice as long here as in the image tower.
@lru_cache(maxsize=16)
def _foreign_rows(texts: _Texts) -> tuple[int, ...]:
    """The rows of the labels that are not English."""
    of_labels = (label.texts(["{label}"]) for label in texts.vocabulary.labels)
    return tuple(row for row, of_label in enumerate(of_labels) if not any(map(is_english, of_label)))


@dataclass(frozen=True, eq=False)
class BatchItem:
    """One photograph and the questions about it, all to the same engine."""

    pixel_values: Array
    questions: tuple[Question, ...]


@dataclass(frozen=True)
class ScoredImage:
    """One photograph's scores, and how long its batch took."""

    scores: tuple[Scores, ...]
    """One per question, in their order."""
    model_seconds: float
    """Seconds in the image tower. A GPU does this work only when the scores are fetched, so its time is part
    of `score_seconds`."""
    score_seconds: float
    """Seconds for the head and the probabilities."""
    photographs: int
    """Number of photographs in the batch."""


def score_batch(works: Sequence[BatchItem]) -> list[ScoredImage | ModelError]:
    """The scores of each item, in order. The image tower runs once per engine, and the head once per
    vocabulary.

    A photograph whose scores are not finite gets a ModelError instead.
    """
    outcomes: dict[int, ScoredImage | ModelError] = {}
    for rows in _rows_by(id(work.questions[0].engine) for work in works).values():
        outcomes |= zip(rows, _score_on_one_engine([works[row] for row in rows]), strict=True)
    return [outcomes[number] for number in range(len(works))]


def _score_on_one_engine(works: Sequence[BatchItem]) -> list[ScoredImage | ModelError]:
    engine = works[0].questions[0].engine
    started = time.perf_counter()
    with metrics.ENCODE_IMAGES_SECONDS.time():
        image_features = engine.encode_images(_stacked([work.pixel_values for work in works]))
    encoded = time.perf_counter()
    # As long as a vocabulary is in the cache, its features are the same object in every request.
    label_features = {
        id(question.features): question.features for work in works for question in work.questions
    }
    scores: dict[tuple[int, int], Scores] = {}
    with metrics.SCORE_SECONDS.time():
        for key, features in label_features.items():
            rows = [
                row for row, work in enumerate(works) if any(id(q.features) == key for q in work.questions)
            ]
            of_rows = image_features if len(rows) == len(works) else _pick(image_features, rows)
            logits = engine.score(of_rows, features)
            probabilities = engine.probabilities(logits, features)
            scores |= {(row, key): Scores(logits[n], probabilities[n]) for n, row in enumerate(rows)}
        of_works = [
            tuple(
                question.look_closer(
                    scores[row, id(question.features)], partial(_pick, image_features, [row])
                )
                for question in work.questions
            )
            for row, work in enumerate(works)
        ]
    scored = time.perf_counter()
    outcomes: list[ScoredImage | ModelError] = []
    for of_work in of_works:
        if all(np.isfinite(each.logits).all() for each in of_work):
            outcomes.append(ScoredImage(of_work, encoded - started, scored - encoded, len(works)))
        else:
            outcomes.append(
                ModelError("the checkpoint gave scores that are not finite", "use another checkpoint")
            )
    return outcomes


def _stacked(photographs: Sequence[Array]) -> Array:
    """[B, 3, S, S] of B photographs; a single one is not copied."""
    return photographs[0][None] if len(photographs) == 1 else np.stack(photographs)


def _rows_by(keys: Iterable[Hashable]) -> dict[Hashable, list[int]]:
    rows: dict[Hashable, list[int]] = {}
    for row, key in enumerate(keys):
        rows.setdefault(key, []).append(row)
    return rows


def _pick(image_features: ImageFeatures, rows: list[int]) -> ImageFeatures:
    """The features of some photographs of a batch."""
    values = {each.name: getattr(image_features, each.name) for each in fields(image_features)}
    return replace(
        image_features, **{name: value[rows] for name, value in values.items() if hasattr(value, "shape")}
    )
