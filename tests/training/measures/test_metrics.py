"""The measures, compared with scikit-learn and with numbers computed by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sklearn.metrics import average_precision_score, f1_score

from sigrl.training.measures.metrics import (
    average_precision,
    average_precision_of_known,
    average_precision_of_thresholds,
    best_of_known,
    expected_calibration_error,
    f1_at,
    f1_of_decisions,
    f1_threshold,
    hit_at,
    precision_at,
    recall_at,
)


def test_average_precision_matches_scikit_learn() -> None:
    random = np.random.RandomState(0)
    scores = random.randn(200, 7)
    targets = (random.rand(200, 7) < 0.3).astype(np.float32)
    expected = 100 * average_precision_score(targets, scores, average=None)
    np.testing.assert_allclose(average_precision(scores, targets), expected, rtol=1e-12)


@given(
    arrays.arrays(np.float32, (12, 3), elements=st.sampled_from([0.0, 1.0, 2.0])),
    arrays.arrays(np.float32, (12, 3), elements=st.sampled_from([0.0, 1.0])),
)
def test_ties_give_the_lowest_average_precision(scores: np.ndarray, targets: np.ndarray) -> None:
    """So average precision is the minimum over all orders of equal scores, and not above scikit-learn's,
    which treats equal scores as one."""
    found = average_precision(scores, targets)
    for column in range(3):
        if targets[:, column].any():
            bound = 100 * average_precision_score(targets[:, column], scores[:, column])
            assert found[column] <= bound + 1e-9
            worst = scores[:, column] - 0.1 * targets[:, column] - 1e-3 * np.arange(12)
            assert found[column] == pytest.approx(
                100 * average_precision_score(targets[:, column], worst), rel=1e-9
            )


def test_constant_scores_do_not_profit_from_image_order() -> None:
    targets = np.array([[1.0], [1.0], [0.0], [0.0]])
    assert average_precision(np.zeros((4, 1)), targets)[0] == pytest.approx(100 * (1 / 3 + 2 / 4) / 2)


def test_average_precision_without_positives_is_zero() -> None:
    np.testing.assert_array_equal(average_precision(np.ones((3, 2)), np.zeros((3, 2))), [0, 0])


def test_average_precision_ignores_unknown_labels() -> None:
    random = np.random.RandomState(0)
    scores, labels = random.randn(60, 5), random.randint(-1, 2, (60, 5))
    labels[:, 4] = np.minimum(labels[:, 4], 0)
    found = average_precision_of_known(scores, labels)
    for column in range(5):
        known = labels[:, column] != 0
        kept = scores[known, column][:, None], (labels[known, column] == 1)[:, None].astype(int)
        assert found[column] == average_precision(*kept)[0]
    assert found[4] == 0


@given(
    arrays.arrays(np.float32, (12, 3), elements=st.sampled_from([0.0, 1.0, 2.0])),
    arrays.arrays(np.float32, (12, 3), elements=st.sampled_from([0.0, 1.0])),
)
def test_average_precision_of_thresholds_matches_scikit_learn(
    scores: np.ndarray, targets: np.ndarray
) -> None:
    found = average_precision_of_thresholds(scores, targets)
    for column in range(3):
        expected = 0.0
        if targets[:, column].any():
            expected = 100 * average_precision_score(targets[:, column], scores[:, column])
        assert found[column] == pytest.approx(expected, rel=1e-12)


def test_average_precision_does_not_depend_on_label_dtype() -> None:
    random = np.random.RandomState(0)
    scores, targets = random.randint(0, 9, (40, 3)).astype(np.float32), random.rand(40, 3) < 0.4
    for measure in (average_precision, average_precision_of_thresholds):
        expected = measure(scores, targets.astype(np.float64))
        for kind in (bool, np.uint8, np.int64, np.float32):
            np.testing.assert_array_equal(measure(scores, targets.astype(kind)), expected)


def test_precision_recall_and_hit_at_k() -> None:
    scores = np.array([[3.0, 2.0, 1.0], [1.0, 3.0, 2.0]])
    targets = np.array([[1.0, 0.0, 1.0], [1.0, 0.0, 0.0]])
    assert precision_at(scores, targets, 1) == 50
    assert precision_at(scores, targets, 2) == 25
    assert precision_at(scores, targets, 3) == 50
    assert [hit_at(scores, targets, k) for k in (1, 2, 3)] == [50, 50, 100]
    assert [recall_at(scores, targets, k) for k in (1, 2, 3)] == [25, 25, 100]
    assert recall_at(scores, np.zeros_like(targets), 2) == 0


def test_f1_at_k_is_micro_averaged_and_counts_unknown_as_wrong() -> None:
    scores = np.array([[4.0, 3.0, 2.0, 1.0], [1.0, 2.0, 3.0, 4.0]])
    labels = np.array([[1, 0, -1, 1], [-1, 1, 1, 1]])
    found = f1_at(scores, labels, 2)
    assert found.precision == pytest.approx(75)
    assert found.recall == pytest.approx(60)
    assert found.f1 == pytest.approx(2 * 75 * 60 / 135)
    assert f1_at(scores, -np.ones_like(labels), 2) == (0, 0, 0)


def test_calibration_error_is_zero_for_exact_frequencies() -> None:
    probabilities = np.array([[0.25, 1.0], [0.25, 1.0], [0.25, 0.0], [0.25, 0.0]])
    targets = np.array([[1, 1], [0, 1], [0, 0], [0, 0]])
    found = expected_calibration_error(probabilities, targets)
    np.testing.assert_allclose(found.per_label, [0, 0])
    assert found.overall == 0


def test_calibration_error_is_the_weighted_gap_over_bins() -> None:
    # Bin 0.8 to 0.867: mean 0.83, one of three true. Bin 0.067 to 0.133: mean 0.1, none true.
    probabilities = np.array([[0.82], [0.83], [0.84], [0.1]])
    targets = np.array([[1], [0], [0], [0]])
    found = expected_calibration_error(probabilities, targets)
    expected = 100 * (3 / 4 * (0.83 - 1 / 3) + 1 / 4 * 0.1)
    assert found.per_label[0] == pytest.approx(expected)
    assert found.overall == pytest.approx(expected)


def test_label_errors_can_cancel_in_the_overall_calibration_error() -> None:
    found = expected_calibration_error(np.full((4, 2), 0.5), np.array([[1, 0]] * 4))
    np.testing.assert_allclose(found.per_label, [50, 50])
    assert found.overall == 0


@pytest.mark.parametrize(("probability", "upper"), [(0.2, 0.25), (0.6, 0.65), (1.0, 0.95)])
def test_probability_on_a_bin_edge_belongs_to_the_upper_bin(probability: float, upper: float) -> None:
    """Two opposite errors in one bin cancel; in two bins they do not."""
    for kind in (np.float32, np.float64):
        pair = np.array([[probability], [upper]], dtype=kind)
        found = expected_calibration_error(pair, np.array([[0], [1]]))
        assert found.overall == pytest.approx(100 * abs(probability + upper - 1) / 2, abs=1e-5)


def test_calibration_error_rejects_invalid_probabilities() -> None:
    for wrong in (1.01, -0.01, np.nan):
        with pytest.raises(ValueError, match=r"probabilities in 0\.\.1"):
            expected_calibration_error(np.array([[0.5, wrong]]), np.zeros((1, 2)))
    with pytest.raises(ValueError, match="at least one photograph"):
        expected_calibration_error(np.zeros((0, 2)), np.zeros((0, 2)))


def test_calibration_error_ignores_unknown_labels() -> None:
    random = np.random.RandomState(0)
    probabilities, targets = random.rand(30, 3), random.rand(30, 3) < 0.4
    known = random.rand(30, 3) < 0.5
    known[:, 2] = False
    found = expected_calibration_error(probabilities, targets, known=known)
    for label in range(2):
        rows = known[:, label]
        one = expected_calibration_error(probabilities[rows, label, None], targets[rows, label, None])
        assert found.per_label[label] == pytest.approx(one.overall)
    assert np.isnan(found.per_label[2])
    pairs = expected_calibration_error(probabilities[known][:, None], targets[known][:, None])
    assert found.overall == pytest.approx(pairs.overall)
    np.testing.assert_array_equal(found.counts, pairs.counts)
    with pytest.raises(ValueError, match="at least one"):
        expected_calibration_error(probabilities, targets, known=np.zeros_like(known))


def test_calibration_error_returns_reliability_bins() -> None:
    found = expected_calibration_error(np.array([[0.1, 0.2], [0.9, 1.0]]), np.array([[0, 1], [1, 1]]), bins=2)
    np.testing.assert_array_equal(found.counts, [2, 2])
    np.testing.assert_allclose(found.mean_probabilities, [0.15, 0.95])
    np.testing.assert_allclose(found.frequencies, [0.5, 1.0])


def test_best_of_known_skips_unknown_labels() -> None:
    scores = np.array([[4.0, 3.0, 2.0, 1.0], [4.0, 3.0, 2.0, 1.0]])
    labels = np.array([[0, 1, -1, 1], [0, 0, 1, 0]])
    found = best_of_known(scores, labels, 2)
    assert found.right.tolist() == [1, 1]
    assert found.taken.tolist() == [2, 1]


def test_f1_of_decisions_matches_scikit_learn() -> None:
    random = np.random.RandomState(0)
    decided, targets = random.rand(50, 4) < 0.3, (random.rand(50, 4) < 0.4).astype(int)
    expected = [100 * f1_score(targets, decided, average=kind) for kind in ("micro", "macro")]
    assert f1_of_decisions(decided, targets) == pytest.approx(tuple(expected))


def test_f1_threshold_separates_separable_scores() -> None:
    targets = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    threshold, f1 = f1_threshold(np.where(targets > 0, 0.62, 0.41), targets)
    assert 0.41 < threshold <= 0.62
    assert f1 == 100


def test_f1_threshold_is_the_best_on_its_grid() -> None:
    random = np.random.RandomState(0)
    probabilities, targets = random.rand(50, 4), (random.rand(50, 4) < 0.4).astype(int)

    def f1(threshold: float) -> float:
        decided = (probabilities >= threshold).astype(int)
        averages = [f1_score(targets, decided, average=kind, zero_division=0) for kind in ("micro", "macro")]
        return float(100 * np.mean(averages))

    threshold, best = f1_threshold(probabilities, targets)
    assert best == pytest.approx(f1(threshold))
    assert best == pytest.approx(max(f1(grid) for grid in np.linspace(0.05, 0.95, 91)))
