"""The measures, held against scikit-learn and against numbers worked out by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sklearn.metrics import average_precision_score, f1_score

from training.metrics import average_precision, f1_threshold, hit_at, precision_at


def test_average_precision_is_scikit_learns() -> None:
    random = np.random.RandomState(0)
    scores = random.randn(200, 7)
    targets = (random.rand(200, 7) < 0.3).astype(np.float32)
    expected = 100 * average_precision_score(targets, scores, average=None)
    np.testing.assert_allclose(average_precision(scores, targets), expected, rtol=1e-12)


@given(
    arrays.arrays(np.float32, (12, 3), elements=st.sampled_from([0.0, 1.0, 2.0])),
    arrays.arrays(np.float32, (12, 3), elements=st.sampled_from([0.0, 1.0])),
)
def test_ties_are_broken_against_us(scores: np.ndarray, targets: np.ndarray) -> None:
    """So average precision is the least that any order of equal scores gives, and no more than
    scikit-learn's, which takes equal scores as one."""
    found = average_precision(scores, targets)
    for column in range(3):
        if targets[:, column].any():
            bound = 100 * average_precision_score(targets[:, column], scores[:, column])
            assert found[column] <= bound + 1e-9
            worst = scores[:, column] - 0.1 * targets[:, column] - 1e-3 * np.arange(12)
            assert found[column] == pytest.approx(
                100 * average_precision_score(targets[:, column], worst), rel=1e-9
            )


def test_a_constant_score_earns_nothing_for_the_order_of_the_photographs() -> None:
    targets = np.array([[1.0], [1.0], [0.0], [0.0]])
    assert average_precision(np.zeros((4, 1)), targets)[0] == pytest.approx(100 * (1 / 3 + 2 / 4) / 2)


def test_a_label_without_a_positive_gets_zero() -> None:
    np.testing.assert_array_equal(average_precision(np.ones((3, 2)), np.zeros((3, 2))), [0, 0])


def test_the_first_labels_of_each_photograph() -> None:
    scores = np.array([[3.0, 2.0, 1.0], [1.0, 3.0, 2.0]])
    targets = np.array([[1.0, 0.0, 1.0], [1.0, 0.0, 0.0]])
    assert precision_at(scores, targets, 1) == 50
    assert precision_at(scores, targets, 2) == 25
    assert precision_at(scores, targets, 3) == 50
    assert [hit_at(scores, targets, k) for k in (1, 2, 3)] == [50, 50, 100]


def test_f1_threshold_separates_what_can_be_separated() -> None:
    targets = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    threshold, f1 = f1_threshold(np.where(targets > 0, 0.62, 0.41), targets)
    assert 0.41 < threshold <= 0.62
    assert f1 == 100


def test_f1_threshold_is_the_best_of_its_grid() -> None:
    random = np.random.RandomState(0)
    probabilities, targets = random.rand(50, 4), (random.rand(50, 4) < 0.4).astype(int)

    def f1(threshold: float) -> float:
        decided = (probabilities >= threshold).astype(int)
        averages = [f1_score(targets, decided, average=kind, zero_division=0) for kind in ("micro", "macro")]
        return float(100 * np.mean(averages))

    threshold, best = f1_threshold(probabilities, targets)
    assert best == pytest.approx(f1(threshold))
    assert best == pytest.approx(max(f1(grid) for grid in np.linspace(0.05, 0.95, 91)))
