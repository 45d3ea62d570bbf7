"""What a vocabulary is calibrated by, and to what."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sigrl.service.schemas.calibration import CalibrationGoal


@dataclass(frozen=True)
class LabelledFile:
    """A photograph as somebody sends it, and what is known of it."""

    filename: str | None
    data: bytes
    """A file's content."""
    shown: Mapping[str, bool]
    """By the label's name whether it applies; of others nothing is known."""


@dataclass(frozen=True)
class Example:
    """A photograph, and what is known of it."""

    digest: str
    """SHA-256 of the file that was sent, as "sha256:" and hex digits."""
    photograph: bytes
    """A small copy of it."""
    shown: Mapping[str, bool]
    """By the label's name whether it applies; of others nothing is known."""


@dataclass(frozen=True)
class Calibration:
    """Everything that thresholds follow from, on any checkpoint. It never changes: examples that come later
    make another one."""

    number: int
    goal: CalibrationGoal
    created: datetime
    examples: tuple[tuple[str, Mapping[str, bool]], ...]
    """Digest of the photograph, and what it shows."""
