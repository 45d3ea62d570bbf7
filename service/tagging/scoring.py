"""From photographs to tags, step by step: the same for one request's and for many requests' at once."""

import time
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property, partial

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
from sigrl.service.schemas.tagging import LabelWarning, Tagging, VocabularyInfo
from sigrl.service.tagging.selection import SURE, Selection, verdicts
from sigrl.service.vocabularies import builtin as vocabularies

Array = npt.NDArray[np.float32]
MOST_DOUBTFUL = 0.3
"""Probability that a label which the checkpoint cannot judge has at most."""


def pixel_values(image: Image.Image, preprocessing: Preprocessing, *, may_shrink: bool) -> Array:
    """An opened photograph as the image tower takes it, float32 [3, S, S].

    `may_shrink`: see `images.to_rgb`; it changes `image`. Raises ImageError.
    """
    # Twice the tower's input leaves the resize's own filter the last word on every pixel.
    rgb = images.to_rgb(image, 2 * preprocessing.image_size if may_shrink else None)
    return preprocess(rgb, preprocessing)


@dataclass(frozen=True)
class Scores:
    """What the head says of one photograph and one vocabulary."""

    logits: Array
    """[C]"""
    probabilities: Array
    """[C]"""
    closer: Array | KeptFeatures | None = None
    """What `Question.look_closer` adds."""


@dataclass(frozen=True, eq=False)
class Question:
    """One vocabulary as one checkpoint sees it, and which of its labels become tags. Made once per request
    and held to its end, so that nothing of another checkpoint can get into an answer."""

    engine: Engine
    vocabulary: Vocabulary
    features: LabelFeatures
    selection: Selection

    @property
    def goal(self) -> EverydayGoal | None:
        """What thresholds follow from: the request's goal, else the vocabulary's where the request sets no
        threshold."""
        return self.selection.goal if self.selection.sets_thresholds else self.vocabulary.goal

    @cached_property
    def thresholds(self) -> npt.NDArray[np.float64]:
        """Of each label, [C]. Raises ParameterError where the checkpoint cannot keep the goal."""
        return self.selection.thresholds(self.vocabulary, self._found_thresholds(), self._doubts)

    def _found_thresholds(self) -> Array:
        if self.goal is not None:
            try:
                return self.engine.thresholds_for(self.features, self.goal)
            except ValueError as error:
                (name,) = (field.name for field in fields(self.goal))
                raise ParameterError(
                    f"the {name} cannot be kept: {error}", "give a threshold, or another checkpoint"
                ) from error
        found = self.engine.thresholds(self.features)
        is_calibrated = self.engine.background_logits(self.features) is not None
        if self.selection.brief and is_calibrated and self.vocabulary.calibration is None:
            return np.full_like(found, SURE)
        return found

    @cached_property
    def _doubts(self) -> dict[int, str]:
        """What is to be said of labels that cannot be judged, by row. Whoever wrote a built-in vocabulary, or
        showed by examples what labels mean, is not warned of them."""
        if vocabularies.is_builtin(self.vocabulary) or self.vocabulary.calibration is not None:
            return {}
        return warnings(self.vocabulary.absences, self.engine.familiarity(self.features))

    @cached_property
    def warnings(self) -> tuple[LabelWarning, ...]:
        """The same, as it is answered."""
        names = self.vocabulary.names
        return tuple(LabelWarning(label=names[row], message=told) for row, told in self._doubts.items())

    @cached_property
    def _info(self) -> VocabularyInfo:
        return VocabularyInfo.of(self.vocabulary)

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
        """[C]: at most `MOST_DOUBTFUL` for a label that cannot be judged, whatever its score."""
        if not self._doubts:
            return probabilities
        believed, rows = probabilities.copy(), list(self._doubts)
        believed[rows] = np.minimum(believed[rows], np.float32(MOST_DOUBTFUL))
        return believed

    def look_closer(self, scores: Scores, _: Callable[[], ImageFeatures]) -> Scores:
        """What else the model is asked about one photograph, in its thread; for tags, nothing."""
        return scores

    def verdicts(self, scores: Scores) -> tuple[npt.NDArray[np.floating], npt.NDArray[np.bool_]]:
        """See `sigrl.service.tagging.selection.verdicts`."""
        return verdicts(self.vocabulary, self._believed(scores.probabilities), self.thresholds)


@dataclass(frozen=True, eq=False)
class BatchItem:
    """One photograph and what is asked of it: questions to one engine."""

    pixel_values: Array
    questions: tuple[Question, ...]


@dataclass(frozen=True)
class ScoredImage:
    """One photograph's scores, and how long its batch took."""

    scores: tuple[Scores, ...]
    """One per question, in their order."""
    model_seconds: float
    """Image tower. A GPU does its work when its scores are fetched, so there it is part of the next."""
    score_seconds: float
    """Head and probabilities."""
    photographs: int
    """How many went through the model together in that time."""


def score_batch(works: Sequence[BatchItem]) -> list[ScoredImage | ModelError]:
    """Scores of each, in their order: the image tower once for all, the head once for each vocabulary.

    A photograph whose scores are no numbers gets a ModelError in its place.
    """
    outcomes: dict[int, ScoredImage | ModelError] = {}
    for rows in _rows_by(id(work.questions[0].engine) for work in works).values():
        outcomes |= zip(rows, _score_on_one_engine([works[row] for row in rows]), strict=True)
    return [outcomes[number] for number in range(len(works))]


def _score_on_one_engine(works: Sequence[BatchItem]) -> list[ScoredImage | ModelError]:
    engine = works[0].questions[0].engine
    started = time.perf_counter()
    with metrics.ENCODE_IMAGES_SECONDS.time():
        image_features = engine.encode_images(np.stack([work.pixel_values for work in works]))
    encoded = time.perf_counter()
    # The same vocabulary is the same object in every request, as long as the cache holds it.
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
                ModelError("the checkpoint gave scores that are no numbers", "use another checkpoint")
            )
    return outcomes


def _rows_by(keys: Iterable[Hashable]) -> dict[Hashable, list[int]]:
    rows: dict[Hashable, list[int]] = {}
    for row, key in enumerate(keys):
        rows.setdefault(key, []).append(row)
    return rows


def _pick(image_features: ImageFeatures, rows: list[int]) -> ImageFeatures:
    """The features of some photographs of a batch."""
    values = {field.name: getattr(image_features, field.name) for field in fields(image_features)}
    return replace(
        image_features, **{name: value[rows] for name, value in values.items() if hasattr(value, "shape")}
    )
