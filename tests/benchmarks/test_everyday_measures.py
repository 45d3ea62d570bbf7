"""The measures of tags, on cases that can be counted by hand."""

from itertools import product

import numpy as np
import numpy.typing as npt
import pytest

from benchmarks.everyday.measures import (
    Decisions,
    constant_guess,
    counted_names,
    deviations,
    name_counts,
    oracle_thresholds,
    pair_measures,
    photograph_measures,
)

LABELS = np.array([[1, -1, 0], [1, 1, -1], [-1, 1, -1], [-1, -1, 1]], np.int8)
SHOWN = np.array([[1, 0, 1], [1, 0, 1], [1, 0, 0], [0, 0, 0]], bool)
"""Right: the first name on the first two photographs. Wrong: the last on the second, the first on the third.
Unsure: the last on the first. Missed: the second twice, the last once."""


def test_precision_recall_and_f1_ignore_unsure_labels() -> None:
    found = pair_measures(Decisions.of(SHOWN), LABELS, counted_names(LABELS))
    assert found == pytest.approx({"precision": 50.0, "recall": 40.0, "f1": 100 * 4 / 9})


def test_measures_are_zero_without_tags_and_positives() -> None:
    nothing = Decisions.of(np.zeros((2, 1), bool))
    found = pair_measures(nothing, np.full((2, 1), -1, np.int8), np.zeros(1, bool))
    assert found == {"precision": 0.0, "recall": 0.0, "f1": 0.0}


def test_average_precision_needs_three_positives_and_ignores_unsure() -> None:
    labels = np.array([[1, 1], [0, 1], [-1, -1], [1, -1], [1, -1]], np.int8)
    probabilities = np.array([[0.9, 0.1], [0.8, 0.2], [0.7, 0.9], [0.6, 0.8], [0.1, 0.7]])
    counted = counted_names(labels)
    assert counted.tolist() == [True, False]
    found = pair_measures(Decisions.of(probabilities > 1, probabilities), labels, counted)
    # Without the unsure one the right ones are first, third and fourth.
    assert found["map"] == pytest.approx(100 * (1 + 2 / 3 + 3 / 4) / 3)


def test_calibration_error_ignores_unsure_labels() -> None:
    labels = np.array([[1, -1], [0, -1]], np.int8)
    probabilities = np.array([[0.75, 0.0], [0.3, 0.0]])
    found = pair_measures(Decisions.of(probabilities > 1, probabilities), labels, np.zeros(2, bool))
    assert found["ece"] == pytest.approx(100 * 0.25 / 3, abs=1e-4)
    assert "map" not in found


def test_image_with_only_unsure_or_wrong_tags_counts_as_nothing_right() -> None:
    said = Decisions(SHOWN, np.array([2, 3, 1, 0]))
    found = photograph_measures(said, LABELS, person=0)
    assert found["shown"] == 1.5
    # Of the last two photographs, which show none.
    assert found["person"] == 50.0
    assert found["nothing_right"] == 50.0
    assert found["nothing_shown"] == 25.0


def test_decisions_can_be_restricted_to_images_and_names() -> None:
    said = Decisions(SHOWN, np.array([2, 3, 1, 0]), SHOWN * 0.7)
    part = said.photographs(np.array([1, 1])).names(np.array([False, True, True]))
    assert part.shown.tolist() == [[False, True], [False, True]]
    assert part.counts.tolist() == [3, 3]
    assert part.probabilities is not None
    assert part.probabilities.tolist() == [[0.0, 0.7], [0.0, 0.7]]


def test_bootstrap_deviations_are_correct_and_reproducible() -> None:
    values = np.array([0.0, 1.0] * 50)
    found = deviations(lambda rows: {"mean": float(values[rows].mean())}, len(values))
    assert found["mean"] == pytest.approx(0.05, rel=0.2)
    assert found == deviations(lambda rows: {"mean": float(values[rows].mean())}, len(values))


def test_oracle_thresholds_include_ties() -> None:
    probabilities = np.array([[0.9, 0.5, 0.9], [0.8, 0.5, 0.8], [0.7, 0.4, 0.7], [0.6, 0.3, 0.6]])
    labels = np.array([[1, 1, -1], [-1, -1, -1], [1, 1, -1], [0, -1, 0]], np.int8)
    # Two right of three; the same, for 0.5 alone takes a right and a wrong one; a name that never holds.
    assert oracle_thresholds(probabilities, labels).tolist() == [0.7, 0.4, np.inf]


def test_oracle_thresholds_have_the_best_micro_f1_of_all_thresholds() -> None:
    random = np.random.default_rng(0)
    for _ in range(20):
        probabilities = random.integers(1, 7, (6, 3)) / 8
        labels = random.choice([-1, -1, 0, 1], (6, 3)).astype(np.int8)
        every = product([*np.arange(1, 7) / 8, np.inf], repeat=3)
        best = max(_f1(probabilities >= np.array(thresholds), labels) for thresholds in every)
        found = _f1(probabilities >= oracle_thresholds(probabilities, labels), labels)
        assert found == pytest.approx(best)


def _f1(shown: npt.NDArray[np.bool_], labels: npt.NDArray[np.int8]) -> float:
    return pair_measures(Decisions.of(shown), labels, counted_names(labels))["f1"]


def test_constant_guess_is_the_name_set_with_the_best_f1() -> None:
    labels = np.array([[1, -1, -1], [1, -1, 1], [1, 1, -1], [1, -1, 1]], np.int8)
    # One: 8 of 11. With the third: 12 of 15, and all of them: 14 of 19.
    assert constant_guess(labels).tolist() == [True, False, True]


def test_name_counts_give_right_wrong_and_missed() -> None:
    first, second, third = name_counts(SHOWN, LABELS, ("a", "b", "c"))
    assert (first.name, first.right, first.wrong, first.missed) == ("a", 2, 1, 0)
    assert (second.right, second.wrong, second.missed) == (0, 0, 2)
    assert (third.right, third.wrong, third.missed) == (0, 1, 1)
