"""The examples and the goal of a vocabulary's calibration."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sigrl.service.schemas.calibration import CalibrationGoal


@dataclass(frozen=True)
class LabelledFile:
    """A photograph as a client sends it, with marks for some of the labels."""

    filename: str | None
    data: bytes
    """The content of the file."""
    shown: Mapping[str, bool]
    """Maps label names to whether the label applies; nothing is known of other labels."""


@dataclass(frozen=True)
class Example:
    """A photograph with marks for some of the labels."""

    digest: str
    """SHA-256 of the file that was sent, as "sha256:" and hex digits."""
    photograph: bytes
    """A small copy of the photograph."""
    shown: Mapping[str, bool]
    """Maps label names to whether the label applies; nothing is known of other labels."""


@dataclass(frozen=True)
class Calibration:
    """Everything that determines the thresholds on any checkpoint. It never changes: later examples make a
    new calibration."""

    number: int
    goal: CalibrationGoal
    created: datetime
    examples: tuple[tuple[str, Mapping[str, bool]], ...]
    """For each example, the digest of the photograph, and what it shows by the label's name."""
