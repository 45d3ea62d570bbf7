"""Probabilities and thresholds from scores on unlabelled photographs."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from pydantic import ValidationError

from sigrl.model.calibration import (
    OFFSET,
    SLOPE,
    THRESHOLD,
    CalibrationConfig,
    calibrate_labels,
    calibration_error,
    f1_thresholds,
    false_positive_thresholds,
    familiarity,
    precision_thresholds,
    probabilities,
    recall_thresholds,
)
from sigrl.training.measures.metrics import expected_calibration_error

CONFIG = CalibrationConfig(photographs=400, offset=-5.0, slope=0.5)


def background(rng, positives, level=-4.0, photographs=2000):
    """Logits that are true probabilities of a label that holds on the share `positives`, moved by nothing."""
    holds = rng.random(photographs) < positives
    return np.where(holds, 2.0, level).astype(np.float32) + rng.normal(0, 0.7, photographs).astype(np.float32)


def test_calibration_keeps_logits_of_trained_labels():
    logits = np.random.default_rng(0).normal(-4, 2, (400, 3)).astype(np.float32)
    calibration = calibrate_labels(logits, np.ones(3, np.float32), CONFIG, 0.3)
    np.testing.assert_array_equal(calibration[:, OFFSET], 0)
    np.testing.assert_array_equal(calibration[:, SLOPE], 1)
    ours = probabilities(logits, "context", calibration)
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, probabilities(logits, "context"), atol=1e-6)


def test_constant_logit_offset_of_a_new_label_is_calibrated_away():
    rng = np.random.default_rng(0)
    once = background(rng, 0.05)
    logits = np.stack([once, once + 3, once - 7], axis=1)
    calibration = calibrate_labels(logits, np.zeros(3, np.float32), CONFIG, 0.3)
    ours = probabilities(logits, "context", calibration)
    np.testing.assert_allclose(ours[:, 1], ours[:, 0], atol=1e-5)
    np.testing.assert_allclose(ours[:, 2], ours[:, 0], atol=1e-5)
    np.testing.assert_allclose(calibration[1:, THRESHOLD], calibration[0, THRESHOLD], atol=1e-5)
    quartile = np.quantile(once, 0.25)
    at = probabilities(np.full((1, 3), quartile, np.float32), "context", calibration[[0, 0, 0]])
    np.testing.assert_allclose(at, 1 / (1 + np.exp(5)), rtol=1e-4)


def test_new_label_present_on_most_images_keeps_high_logits():
    logits = background(np.random.default_rng(0), 0.7)[:, None]
    calibration = calibrate_labels(logits, np.zeros(1, np.float32), CONFIG, 0.3)
    raw = calibration[0, OFFSET] + calibration[0, SLOPE] * logits[:, 0]
    assert np.median(raw[logits[:, 0] > 0]) > np.median(raw[logits[:, 0] < -2]) + 2.5
    assert (raw[logits[:, 0] < -3] < -4.5).all()


def test_half_familiar_label_gets_the_mean_calibration():
    logits = np.random.default_rng(0).normal(-4, 2, (400, 1)).astype(np.float32)
    ends = [calibrate_labels(logits, np.full(1, value, np.float32), CONFIG, 0.3) for value in (0, 1, 0.5)]
    np.testing.assert_allclose(
        ends[2][:, :THRESHOLD], (ends[0] + ends[1])[:, :THRESHOLD] / 2, rtol=1e-5, atol=1e-5
    )


def test_calibration_does_not_depend_on_other_labels():
    logits = np.random.default_rng(0).normal(-4, 2, (300, 1500)).astype(np.float32)
    familiar = np.random.default_rng(1).random(1500).astype(np.float32)
    together = calibrate_labels(logits, familiar, CONFIG, 0.3)
    for column in (0, 1023, 1024, 1499):
        alone = calibrate_labels(logits[:, [column]], familiar[[column]], CONFIG, 0.3)
        np.testing.assert_allclose(together[[column]], alone, rtol=1e-5)


def test_familiarity_is_similarity_to_the_nearest_trained_label():
    trained = np.array([[1, 0, 0], [0, 2, 0]], np.float32)
    labels = np.array([[5, 0, 0], [0, 0, 1], [1, 0, 1], [0, 0.85, np.sqrt(1 - 0.85**2)]], np.float32)
    np.testing.assert_allclose(familiarity(labels, trained), [1, 0, 0.0236, 0.5], atol=1e-3)
    np.testing.assert_array_equal(familiarity(labels, trained[:0]), 0)


def test_f1_thresholds_maximize_f1_for_calibrated_probabilities():
    rng = np.random.default_rng(0)
    # A calibrated label by construction: truth is drawn from the probabilities themselves.
    found = rng.beta(0.3, 3, (40_000, 1)).astype(np.float32)
    holds = rng.random(found.shape) < found
    (threshold,) = f1_thresholds(found, 0.3)

    def f1(cut):
        decided = found >= cut
        return 2 * (decided & holds).sum() / (decided.sum() + holds.sum())

    assert f1(threshold) > max(f1(cut) for cut in np.linspace(0.02, 0.9, 89)) - 0.003


def test_very_rare_label_gets_the_default_threshold():
    found = np.full((400, 2), 1e-4, np.float32)
    np.testing.assert_allclose(f1_thresholds(found, 0.3), 0.3, atol=0.02)


def test_f1_threshold_weighs_the_prior_threshold_as_five_positives():
    found = np.zeros((400, 3), np.float32)
    found[:5] = 1
    found[:15, 2] = 1
    # The best F1 that can be expected is 1, half of which is the threshold of the photographs.
    before = np.array([0.3, 0.1, 0.3], np.float32)
    np.testing.assert_allclose(f1_thresholds(found, before), [0.4, 0.3, 0.45])


@given(
    arrays.arrays(np.float32, (30, 2), elements=st.floats(0, 1, width=32)),
    st.floats(0, 1),
)
def test_false_positive_thresholds_are_the_lowest_within_the_rate(found, rate):
    thresholds = false_positive_thresholds(found, rate)
    absent = 1 - found.astype(np.float64)
    for column, threshold in enumerate(thresholds):
        allowed = rate * absent[:, column].sum() + 1e-9
        assert absent[found[:, column] >= threshold, column].sum() <= allowed
        lower = found[:, column][found[:, column] < threshold]
        if len(lower):
            assert absent[found[:, column] >= lower.max(), column].sum() > allowed - 2e-9


def test_precision_thresholds_on_small_exact_cases():
    def threshold(*found, precision=0.8):
        (only,) = precision_thresholds(np.array(found, np.float32)[:, None], precision)
        return pytest.approx(float(only), abs=3e-6)

    # Where no photograph gets there the threshold is the precision itself, and never higher.
    assert threshold(0.1, 0.2, 0.3) == 0.8
    assert threshold(0.8, 0.8) == 0.8
    # A single photograph above lets five imagined ones at the threshold be that much worse: 0.1 / 5.
    assert threshold(0.9, 0.1) == 0.78
    # Of two hundred at 1 and a hundred at 0.5 five sixths are right; those at 0.1 would be too many.
    many = [1.0] * 200 + [0.5] * 100
    assert threshold(*many, *[0.1] * 200) == 0.1
    assert threshold(*many, *[0.1] * 200, precision=0.9) == 0.5
    assert threshold(*[1.0] * 99, 0.99) == 0


def test_recall_thresholds_on_small_exact_cases():
    def threshold(*found, recall=0.8):
        (only,) = recall_thresholds(np.array(found, np.float32)[:, None], recall)
        return pytest.approx(float(only), abs=3e-6)

    # Where nothing is likely to show it the threshold leaves so much of 1 as is not asked for.
    assert threshold(0.0, 0.0) == 0.2
    assert threshold(0.0, recall=0.3) == 0.7
    # 800 of 1,000 lie at 1, and five imagined ones anywhere.
    assert threshold(*[1.0] * 800, *[0.5] * 400, recall=0.7) == 1.0
    assert threshold(*[1.0] * 800, *[0.5] * 400, recall=0.85) == 0.5
    assert threshold(*[0.4] * 100, *[0.0] * 300) == 0.4


FOUND = arrays.arrays(np.float32, (30, 2), elements=st.floats(0, 1, width=32))
SHARES = st.floats(0.01, 0.99)


@given(FOUND, SHARES)
def test_precision_thresholds_reach_the_precision_on_average(found, precision):
    thresholds = precision_thresholds(found, precision)
    assert (thresholds <= np.float32(precision)).all()
    for column, threshold in enumerate(thresholds):
        taken = found[found[:, column] >= threshold, column].astype(np.float64)
        assert not len(taken) or taken.mean() >= precision - 1e-4
    lower = precision_thresholds(found, precision * 0.9)
    assert (lower <= thresholds + 1e-6).all()


@given(FOUND, SHARES)
def test_recall_thresholds_reach_the_recall_within_the_prior_weight(found, recall):
    thresholds = recall_thresholds(found, recall).astype(np.float64)
    for column, threshold in enumerate(thresholds):
        values = found[:, column].astype(np.float64)
        # A little lower, for the threshold was rounded.
        right = values[values >= threshold - 1e-6].sum() + 5 * (1 - threshold)
        assert right >= recall * (values.sum() + 5) - 1e-4
    higher = recall_thresholds(found, recall * 0.9)
    assert (higher >= thresholds - 1e-6).all()


@pytest.mark.parametrize("bad", [{"photographs": 0}, {"slope": 0.0}, {"slope": -1.0}, {"other": 1}])
def test_invalid_calibration_config_is_rejected(bad):
    with pytest.raises(ValidationError):
        CalibrationConfig(**{**CONFIG.model_dump(), **bad})


def test_calibration_modules_import_without_torch():
    code = (
        "import sys, sigrl.model.calibration, sigrl.model.background, sigrl.model.label_calibration;"
        "import sigrl.model.label_hygiene;"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_calibration_error_matches_the_training_measure():
    rng = np.random.default_rng(0)
    found = rng.random((200, 3)).astype(np.float32)
    labels = np.where(rng.random(found.shape) < found**2, 1, -1).astype(np.int8)
    labels[rng.random(found.shape) < 0.3] = 0
    theirs = expected_calibration_error(found, labels > 0, known=labels != 0)
    assert calibration_error(found, labels) == pytest.approx(theirs.overall / 100)
