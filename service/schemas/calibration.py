"""Answers about calibrations and the hygiene of labels."""

from collections.abc import Callable
from typing import Literal, Self

from pydantic import Field, model_validator

from sigrl.model.label_calibration import BestF1, FalsePositiveRate, Goal, TargetPrecision, TargetRecall
from sigrl.service.schemas.base import Schema
from sigrl.service.schemas.tagging import VocabularyInfo


class CalibrationGoal(Schema):
    """What the thresholds are chosen for."""

    kind: Literal["f1", "precision", "recall", "false-positive-rate"] = "f1"
    """The best F1, a precision or a recall, all on the examples; or a false-positive rate on the checkpoint's
    background set, which needs no examples."""
    value: float | None = Field(default=None, gt=0, lt=1)
    """The precision, the recall or the rate; null for the best F1."""

    @model_validator(mode="after")
    def _check_value(self) -> Self:
        if (self.value is None) != (self.kind == "f1"):
            raise ValueError("f1 goes without a value, the other goals with one")
        return self

    @property
    def of_model(self) -> Goal:
        """The same in the model's words."""
        if self.value is None:
            return BestF1()
        kinds: dict[str, Callable[[float], Goal]] = {
            "precision": TargetPrecision,
            "recall": TargetRecall,
            "false-positive-rate": FalsePositiveRate,
        }
        return kinds[self.kind](self.value)


class SimilarLabels(Schema):
    """Two labels that a checkpoint hardly tells apart."""

    first: str
    second: str
    similarity: float
    """Cosine of the texts, or correlation of the scores."""


class HygieneReport(Schema):
    """Labels of a vocabulary that one should look at; all lists may be empty."""

    checkpoint: str
    """Id of the checkpoint that judged."""
    vocabulary: VocabularyInfo
    """What was judged."""
    photographs: int
    """Size of the checkpoint's background set of everyday photographs; 0 if it has none, and then only
    near-duplicates can be told."""
    never: tuple[str, ...]
    """On no photograph of the background set is the label present: too rare, or unknown to the checkpoint."""
    always: tuple[str, ...]
    """It is present on nearly all of them, and tells nothing."""
    near_duplicates: tuple[SimilarLabels, ...]
    """Their texts are nearly the same to the text tower: one may be a synonym of the other."""
    indistinguishable: tuple[SimilarLabels, ...]
    """Their scores rise and fall together on the background set, whatever the texts."""


class CalibratedLabel(Schema):
    """What a calibration did for one label."""

    label: str
    positives: int
    """Examples that show it."""
    negatives: int
    """Examples that are known not to show it."""
    threshold: float
    """Probability from which on it counts as present; a threshold that the vocabulary itself gives goes
    before it."""
    threshold_before: float
    """The same without the calibration."""


class CalibrationReport(Schema):
    """A vocabulary's calibration as a checkpoint uses it. Thresholds are fitted anew for each checkpoint."""

    checkpoint: str
    """Id of the checkpoint."""
    vocabulary: VocabularyInfo
    """What is calibrated; `calibration` is its number."""
    goal: CalibrationGoal
    """What thresholds are chosen for."""
    examples: int
    """Photographs it rests on."""
    labels: tuple[CalibratedLabel, ...]
    """In the vocabulary's order."""
    hygiene: HygieneReport
    """Labels to look at."""
