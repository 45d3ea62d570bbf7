"""What a vocabulary is calibrated by, and to what."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Self

from pydantic import Field, model_validator

from model.label_refinement import BestF1, FalsePositiveRate, Goal, TargetPrecision
from service.results import Answer


class CalibrationGoal(Answer):
    """What the thresholds are chosen for."""

    kind: Literal["f1", "precision", "false-positive-rate"] = "f1"
    """The best F1 on the examples; a precision on the examples; or a false-positive rate on the checkpoint's
    background set, which needs no examples."""
    value: float | None = Field(default=None, gt=0, lt=1)
    """The precision or the rate; null for the best F1."""

    @model_validator(mode="after")
    def _check_value(self) -> Self:
        if (self.value is None) != (self.kind == "f1"):
            raise ValueError("f1 goes without a value, precision and false-positive-rate with one")
        return self

    @property
    def of_model(self) -> Goal:
        """The same in the model's words."""
        if self.value is None:
            return BestF1()
        return TargetPrecision(self.value) if self.kind == "precision" else FalsePositiveRate(self.value)


@dataclass(frozen=True)
class LabelledFile:
    """A photograph as somebody sends it, and what is known of it."""

    filename: str | None
    data: bytes
    """A file's content."""
    shown: Mapping[str, bool]
    """By the label's name whether it holds; of others nothing is known."""


@dataclass(frozen=True)
class Example:
    """A photograph, and what is known of it."""

    digest: str
    """SHA-256 of the file that was sent, as "sha256:" and hex digits."""
    photograph: bytes
    """A small copy of it."""
    shown: Mapping[str, bool]
    """By the label's name whether it holds; of others nothing is known."""


@dataclass(frozen=True)
class Calibration:
    """Everything that thresholds follow from, on any checkpoint. It never changes: examples that come later
    make another one."""

    number: int
    goal: CalibrationGoal
    created: datetime
    examples: tuple[tuple[str, Mapping[str, bool]], ...]
    """Digest of the photograph, and what it shows."""
