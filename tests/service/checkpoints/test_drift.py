import numpy as np
import pytest
from fake_engine import FakeEngine

from sigrl.model.vocabulary import Vocabulary
from sigrl.service.checkpoints.drift import Drift
from sigrl.service.schemas.drift import DriftReport
from sigrl.service.settings import Settings
from sigrl.service.tagging.scoring import Question, ScoredImage, Scores
from sigrl.service.tagging.selection import Selection

DOG, CAT, BOTH, NEITHER = (0.9, 0.1), (0.1, 0.9), (0.9, 0.9), (0.1, 0.1)
PETS = Vocabulary.from_names(["dog", "cat"], "pets")
QUESTION = Question(FakeEngine(), PETS, FakeEngine().encode_labels(PETS), Selection())


def _scored(probabilities: tuple[float, ...], seconds: float, photographs: int = 1) -> ScoredImage:
    values = np.array(probabilities, np.float32)
    return ScoredImage((Scores(values, values),), seconds, 0.0, photographs)


def _report(*pairs: tuple[tuple[float, ...], tuple[float, ...]], **settings: float) -> DriftReport:
    drift = Drift()
    for old, new in pairs:
        drift.add(((QUESTION,), _scored(old, 1.0)), ((QUESTION,), _scored(new, 1.5)))
    return drift.report("sha256:new", Settings(**settings))


def test_equal_answers_report_no_drift() -> None:
    report = _report((DOG, DOG), (NEITHER, NEITHER))
    assert (report.changed_tags, report.probability_shift, report.probability_change) == (0, 0, 0)
    assert report.photographs == 2


def test_drift_is_reported_per_label() -> None:
    report = _report((DOG, CAT), (DOG, DOG), (BOTH, DOG), (NEITHER, NEITHER))
    dog, cat = sorted(report.labels, key=lambda label: label.label, reverse=True)
    assert (dog.tagged, dog.changed_tags) == (3, pytest.approx(1 / 3, abs=1e-5))
    assert (cat.tagged, cat.changed_tags) == (2, 1.0)
    assert report.labels[0] == cat
    assert report.changed_tags == 0.6
    assert dog.probability_shift == pytest.approx(-0.2)
    assert report.latency_ratio == 1.5


def test_batched_images_do_not_count_for_the_latency_ratio() -> None:
    drift = Drift()
    drift.add(((QUESTION,), _scored(DOG, 9.0, photographs=8)), ((QUESTION,), _scored(DOG, 1.0)))
    assert drift.report("sha256:new", Settings()).latency_ratio is None


def test_exceeded_drift_limits_are_described_in_sentences() -> None:
    limits = {"drift_changed_tags": 0.5, "drift_probability": 0.5, "drift_latency": 1.2}
    report = _report((DOG, CAT), drift_photographs=1, **limits)
    assert [sentence.rpartition(" is ")[0] for sentence in report.exceeded] == [
        "the share of changed tags",
        "the mean change of probabilities",
        "the ratio of latencies",
    ]
    (few,) = _report((DOG, DOG), drift_changed_tags=0.5).exceeded
    assert few == "1 photographs were compared, 200 are required"
    assert _report((DOG, CAT)).exceeded == ()


def test_calibration_error_is_reported_and_limits_activation() -> None:
    drift = Drift()
    drift.add(((QUESTION,), _scored(DOG, 1.0)), ((QUESTION,), _scored(DOG, 1.0)))
    limits = Settings(drift_calibration_error=0.05, drift_photographs=1)
    unknown = drift.report("sha256:new", limits)
    assert (unknown.calibration_error, unknown.exceeded) == (None, ())
    drift.note_errors(0.02, 0.07)
    report = drift.report("sha256:new", limits)
    assert (report.calibration_error_active, report.calibration_error) == (0.02, 0.07)
    assert report.exceeded == ("the calibration error is 0.07, above the limit of 0.05",)
