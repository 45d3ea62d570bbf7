"""New words are calibrated from labelled words."""

import numpy as np
import pytest

from sigrl.training.bundles.new_words import NewWords, expected_new_words, fit_new_words, leave_labels_out

EXPECTED = NewWords(-5.3, 1.0)


def draw(levels, offset=-4.0, slope=0.8, photographs=4000, seed=0):
    """Scores and labels of words whose negatives lie at `levels`, and the scores of a background set."""
    rng = np.random.default_rng(seed)
    evidence = rng.gamma(1.0, 1.6, (photographs, len(levels)))
    evidence -= np.quantile(evidence, 0.25)
    holds = rng.random(evidence.shape) < 1 / (1 + np.exp(-(offset + slope * evidence)))
    scores = (evidence + np.array(levels)).astype(np.float32)
    return scores, np.where(holds, 1, -1).astype(np.int8), scores[:1000]


def test_fit_recovers_offset_and_slope_at_any_word_level():
    fitted = fit_new_words(*draw([-6.0, -4.0, 0.0, 3.0]), EXPECTED)
    assert fitted.offset == pytest.approx(-4.0, abs=0.25)
    assert fitted.slope == pytest.approx(0.8, abs=0.08)


def test_unknown_labels_are_ignored():
    scores, labels, background = draw([-6.0, -4.0])
    hidden = np.random.default_rng(1).random(labels.shape) < 0.5
    spoilt = np.where(hidden, 0, labels).astype(np.int8)
    wrong = np.where(hidden, -labels, labels).astype(np.int8)
    assert fit_new_words(scores, spoilt, background, EXPECTED).slope == pytest.approx(0.8, abs=0.12)
    assert fit_new_words(scores, wrong, background, EXPECTED).slope < 0.2


def test_with_few_images_the_fit_stays_close_to_the_prior():
    scores, labels, background = draw([-6.0], offset=0.0)
    few = fit_new_words(scores[:4], labels[:4], background, EXPECTED)
    many = fit_new_words(scores, labels, background, EXPECTED)
    assert EXPECTED.offset < few.offset < many.offset - 1
    assert fit_new_words(scores, np.zeros_like(labels), background, EXPECTED) == EXPECTED


def test_without_labels_the_slope_scales_with_the_scores():
    scores, _, background = draw([-6.0, -4.0, 0.0])
    one, ten = expected_new_words(background), expected_new_words(10 * background)
    assert ten.slope == pytest.approx(one.slope / 10, rel=1e-4)
    assert ten.offset == one.offset
    constant = np.zeros((50, 3), np.float32)
    assert np.isfinite(expected_new_words(constant).slope)
    np.testing.assert_allclose(
        one.logits(scores, background), ten.logits(10 * scores, 10 * background), atol=1e-3
    )


def test_leave_labels_out_compares_new_word_and_raw_calibration():
    scores, labels, background = draw(list(np.linspace(-8, 2, 24)))
    moved = leave_labels_out(scores, labels, background, EXPECTED)
    assert moved.as_new_words < 2 < moved.as_they_come
    # A checkpoint whose logits are probabilities, with words of different frequency.
    rng = np.random.default_rng(2)
    logits = (rng.normal(0, 2, (4000, 24)) + np.linspace(-7, 2, 24)).astype(np.float32)
    holds = np.where(rng.random(logits.shape) < 1 / (1 + np.exp(-logits)), 1, -1).astype(np.int8)
    trained = leave_labels_out(logits, holds, logits[:1000], EXPECTED)
    assert trained.as_they_come < 2 < trained.as_new_words


def test_leave_labels_out_works_with_a_single_label():
    scores, labels, background = draw([-6.0])
    found = leave_labels_out(scores, labels, background, EXPECTED)
    assert 0 <= found.as_new_words <= 100
