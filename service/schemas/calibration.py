"""Requests and answers about calibrations, and reports on labels that need attention."""

from collections.abc import Callable
from typing import Literal, Self

from pydantic import Field, model_validator

from sigrl.model.label_calibration import BestF1, FalsePositiveRate, Goal, TargetPrecision, TargetRecall
from sigrl.service.schemas.base import Schema
from sigrl.service.schemas.tagging import VocabularyInfo


class CalibrationGoal(Schema):
    """The measure that thresholds are chosen for."""

    kind: Literal["f1", "precision", "recall", "false-positive-rate"] = "f1"
    """The best F1, a precision or a recall are measured on the examples. A false-positive rate is measured on
    the checkpoint's background set and needs no examples."""
    value: float | None = Field(default=None, gt=0, lt=1)
    """The precision, the recall or the rate; null for the best F1."""

    @model_validator(mode="after")
    def _check_value(self) -> Self:
        if (self.value is None) != (self.kind == "f1"):
            raise ValueError("f1 goes without a value, the other goals with one")
        return self

    @property
    def of_model(self) -> Goal:
        """The same goal as `sigrl.model.label_calibration` takes it."""
        if self.value is None:
            return BestF1()
        kinds: dict[str, Callable[[float], Goal]] = {
            "precision": TargetPrecision,
            "recall": TargetRecall,
            "false-positive-rate": FalsePositiveRate,
        }
        return kinds[self.kind](self.value)


class SimilarLabels(Schema):
    """Two labels that a checkpoint can hardly tell apart."""

    first: str
    second: str
    similarity: float
    """Cosine of the two texts, or correlation of the two labels' scores."""


class HygieneReport(Schema):
    """Labels of a vocabulary that may need a change; all lists may be empty."""

    checkpoint: str
    """Id of the checkpoint that made the report."""
    vocabulary: VocabularyInfo
    """The vocabulary that the report is about."""
    photographs: int
    """Size of the checkpoint's background set of everyday photographs. It is 0 where the checkpoint has none;
    then only near-duplicates are found."""
    never: tuple[str, ...]
    """Labels that are accepted on no photograph of the background set: too rare, or unknown to the
    checkpoint."""
    always: tuple[str, ...]
    """Labels that are accepted on nearly all of them, and so distinguish nothing."""
    near_duplicates: tuple[SimilarLabels, ...]
    """Labels whose text embeddings are nearly the same: one may be a synonym of the other."""
    indistinguishable: tuple[SimilarLabels, ...]
    """Labels whose scores are strongly correlated on the background set, however different their texts."""


class CalibratedLabel(Schema):
    """What a calibration changed for one label."""

    label: str
    positives: int
    """Examples in which the label was marked right."""
    negatives: int
    """Examples in which the label was marked wrong."""
    threshold: float
    """The label is accepted at this probability and above. A threshold that the vocabulary sets takes
    precedence."""
    threshold_before: float
    """The threshold without the calibration."""
    overruled: int = 0
    """Examples that the threshold decides against their mark. It is 0 unless examples contradict each other:
    one that is marked wrong is as probable as one that is marked right, or more, so that no threshold agrees
    with both."""


class CalibrationGain(Schema):
    """What a calibration gains on its own examples, each decided by a calibration with the others."""

    before: float
    """Mean F1 of the labels without the calibration, in 0..1."""
    after: float
    """Mean F1 of the labels with it."""
    labels: int
    """Number of labels that apply to an example; the others are not counted."""


class CalibrationReport(Schema):
    """A vocabulary's calibration as one checkpoint uses it: each checkpoint has thresholds of its own."""

    checkpoint: str
    """Id of the checkpoint."""
    vocabulary: VocabularyInfo
    """The calibrated vocabulary; `calibration` is the calibration's number."""
    goal: CalibrationGoal
    """The measure that thresholds are chosen for."""
    examples: int
    """Number of example photographs."""
    labels: tuple[CalibratedLabel, ...]
    """One entry for each label, in the vocabulary's order."""
    hygiene: HygieneReport
    """Labels that may need a change."""
    gain: CalibrationGain | None = None
    """What the calibration gains. Null in the answer to GET, with fewer than ten examples, and if no label
    applies to any."""
