"""Splits and observed labels of the single-positive protocol, bit for bit."""

import numpy as np
import pytest

from sigrl.training.data.single_positive import observe_one_positive, split_rows

FILE = "09_spml_data.npz"


@pytest.mark.parametrize("name", ["split.n100.frac0.2.seed1200", "split.n5717.frac0.2.seed1200"])
def test_split_matches_the_published_one(golden, name):
    case = golden.case(FILE, name)
    train, validation = split_rows(case["n"], case["frac"], case["seed"])
    np.testing.assert_array_equal(train, golden.array(FILE, f"{name}/train_idx"))
    np.testing.assert_array_equal(validation, golden.array(FILE, f"{name}/val_idx"))


def test_observed_labels_match_the_published_ones(golden):
    case = golden.case(FILE, "observed.0")
    true = golden.array(FILE, "observed.0/label_matrix").numpy()
    observed = observe_one_positive(np.where(true == 1, 1, -1).astype(np.int8), case["seed"])
    np.testing.assert_array_equal(observed, golden.array(FILE, "observed.0/label_matrix_obs"))
    assert observed.dtype == np.int8


def test_unknown_labels_are_treated_as_negatives_when_drawing(golden):
    true = golden.array(FILE, "observed.0/label_matrix").numpy()
    expected = golden.array(FILE, "observed.0/label_matrix_obs")
    np.testing.assert_array_equal(observe_one_positive(true), expected)
