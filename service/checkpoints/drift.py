"""Measures how a candidate's results differ from those of the active checkpoint."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from threading import Lock

import numpy as np
import numpy.typing as npt

from sigrl.model.vocabulary import Vocabulary
from sigrl.service.schemas.drift import DriftReport, LabelDrift
from sigrl.service.settings import Settings
from sigrl.service.tagging.scoring import Question, ScoredImage

SHOWN_LABELS = 100
_MAX_VOCABULARIES = 64

Floats = npt.NDArray[np.float64]


@dataclass
class _Counts:
    vocabulary: Vocabulary
    photographs: int = 0
    either: Floats = field(init=False)
    one: Floats = field(init=False)
    shift: Floats = field(init=False)
    change: Floats = field(init=False)

    def __post_init__(self) -> None:
        zeros = np.zeros(len(self.vocabulary.labels))
        self.either, self.one, self.shift, self.change = (zeros.copy() for _ in range(4))

    def label(self, row: int) -> LabelDrift:
        return LabelDrift(
            vocabulary=self.vocabulary.name,
            label=self.vocabulary.names[row],
            photographs=self.photographs,
            tagged=int(self.either[row]),
            changed_tags=_share(self.one[row], self.either[row]),
            probability_shift=round(float(self.shift[row] / self.photographs), 6),
        )


class Drift:
    """Accumulates the figures of `DriftReport` in constant memory. Thread-safe."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._counts: dict[str, _Counts] = {}
        self._photographs = self._failures = 0
        self._old_seconds = self._new_seconds = 0.0
        self._errors: tuple[float | None, float | None] = None, None

    def add(
        self, old: tuple[Sequence[Question], ScoredImage], new: tuple[Sequence[Question], ScoredImage]
    ) -> None:
        """Adds one photograph that the old and the new checkpoint scored for the same questions."""
        with self._lock:
            self._photographs += 1
            for before, after, old_scores, new_scores in zip(
                old[0], new[0], old[1].scores, new[1].scores, strict=True
            ):
                counts = self._of(before.vocabulary)
                if counts is None:
                    continue
                old_probabilities, was = before.verdicts(old_scores)
                new_probabilities, is_now = after.verdicts(new_scores)
                counts.photographs += 1
                counts.either += was | is_now
                counts.one += was ^ is_now
                counts.shift += new_probabilities - old_probabilities
                counts.change += np.abs(new_probabilities - old_probabilities)
            if old[1].photographs == 1:
                self._old_seconds += old[1].model_seconds + old[1].score_seconds
                self._new_seconds += new[1].model_seconds + new[1].score_seconds

    def note_errors(self, old: float | None, new: float | None) -> None:
        """Records the calibration errors of both checkpoints."""
        with self._lock:
            self._errors = old, new

    def fail(self) -> None:
        """Records that the candidate failed on a photograph that the active checkpoint tagged."""
        with self._lock:
            self._failures += 1

    def report(self, checkpoint: str, settings: Settings) -> DriftReport:
        """The report so far, checked against the limits of the settings."""
        with self._lock:
            return self._report(checkpoint, settings)

    def _of(self, vocabulary: Vocabulary) -> _Counts | None:
        known = self._counts.get(vocabulary.content_hash)
        if known is None and len(self._counts) < _MAX_VOCABULARIES:
            known = self._counts[vocabulary.content_hash] = _Counts(vocabulary)
        return known

    def _report(self, checkpoint: str, settings: Settings) -> DriftReport:
        counts = list(self._counts.values())
        compared = sum(each.photographs * len(each.vocabulary.labels) for each in counts)
        changed_tags = _share(
            sum(each.one.sum() for each in counts), sum(each.either.sum() for each in counts)
        )
        change = _share(sum(each.change.sum() for each in counts), compared)
        ratio = round(self._new_seconds / self._old_seconds, 3) if self._old_seconds else None
        labels = [each.label(row) for each in counts for row in np.argsort(-each.one)[:SHOWN_LABELS]]
        labels.sort(key=lambda label: (-label.changed_tags * label.tagged, -abs(label.probability_shift)))
        measured = (changed_tags, change, ratio, self._errors[1])
        exceeded = _exceeded(settings, self._photographs, self._failures, *measured)
        return DriftReport(
            checkpoint=checkpoint,
            photographs=self._photographs,
            failures=self._failures,
            changed_tags=changed_tags,
            probability_shift=_share(sum(each.shift.sum() for each in counts), compared),
            probability_change=change,
            latency_ratio=ratio,
            calibration_error=self._errors[1],
            calibration_error_active=self._errors[0],
            exceeded=exceeded,
            labels=tuple(labels[:SHOWN_LABELS]),
        )


def _exceeded(
    settings: Settings,
    photographs: int,
    failures: int,
    changed_tags: float,
    change: float,
    ratio: float | None,
    calibration_error: float | None,
) -> tuple[str, ...]:
    limits = (
        ("the share of changed tags", changed_tags, settings.drift_changed_tags),
        ("the mean change of probabilities", change, settings.drift_probability),
        ("the ratio of latencies", ratio, settings.drift_latency),
        ("the calibration error", calibration_error, settings.drift_calibration_error),
    )
    if all(limit is None for _, _, limit in limits):
        return ()
    found = [
        f"{what} is {value:g}, above the limit of {limit:g}"
        for what, value, limit in limits
        if limit is not None and value is not None and value > limit
    ]
    if photographs < settings.drift_photographs:
        found.append(f"{photographs} photographs were compared, {settings.drift_photographs} are required")
    if failures:
        found.append(f"it failed on {failures} photographs")
    return tuple(found)


def _share(part: float, whole: float) -> float:
    return round(float(part / whole), 6) if whole else 0.0
