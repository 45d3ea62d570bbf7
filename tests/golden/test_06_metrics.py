"""The published evaluations: BiAM's on labels in {-1, 0, 1}, and the single-positive one."""

import numpy as np
import pytest

from sigrl.training.measures.metrics import (
    average_precision_of_known,
    average_precision_of_thresholds,
    f1_at,
    hit_at,
    precision_at,
    recall_at,
)

FILE = "06_metrics.npz"


@pytest.fixture
def read(golden, dtype):
    """Name -> a stored array, floating-point inputs in the dtype under test."""
    return lambda name: golden.array(FILE, name).to(dtype).numpy()


@pytest.fixture
def stored(golden):
    return lambda name: golden.array(FILE, name).numpy()


def test_average_precision_of_known_entries_matches_the_reference(read, stored):
    found = average_precision_of_known(read("distinct/predictions"), read("labels"))
    np.testing.assert_allclose(found / 100, stored("distinct/AP"), atol=1e-6)
    assert found.mean() / 100 == pytest.approx(stored("distinct/mAP"), abs=1e-6)


def test_ties_give_the_lower_bound_of_average_precision(read, stored):
    found = average_precision_of_known(read("ties/predictions"), read("labels")) / 100
    bounds = stored("ties/AP_bounds")
    np.testing.assert_allclose(found, bounds[:, 0], atol=1e-12)
    assert (stored("ties/AP") >= found - 1e-6).all()


@pytest.mark.parametrize("k", [3, 5])
def test_f1_matches_the_reference(read, stored, k):
    found = f1_at(read("distinct/predictions"), read("labels"), k)
    np.testing.assert_allclose(np.array(found) / 100, stored(f"distinct/F1_P_R.k{k}"), atol=1e-6)


@pytest.mark.parametrize("k", [3, 5])
def test_f1_with_ties_matches_the_reference_for_unambiguous_images(read, stored, k):
    fixed = ~stored(f"ties/ambiguous_rows.k{k}")
    scores, labels = read("ties/predictions")[fixed], read("labels")[fixed]
    chosen = stored(f"ties/topk_mask.k{k}")[fixed] == 1
    right = (labels[chosen] == 1).sum()
    found = f1_at(scores, labels, k)
    assert found.precision / 100 == pytest.approx(right / chosen.sum())
    assert found.recall / 100 == pytest.approx(right / (labels == 1).sum())


def test_f1_is_zero_if_the_reference_is_nan(read, stored):
    assert np.isnan(stored("no_hit/F1_P_R.k3")[0])
    assert f1_at(read("no_hit/predictions"), read("no_hit/labels"), 3) == (0, 0, 0)
    assert np.isnan(stored("no_positive_at_all/F1_P_R.k3")[0])
    assert f1_at(read("distinct/predictions"), np.minimum(read("labels"), 0), 3) == (0, 0, 0)


@pytest.mark.parametrize("case", ["spml.distinct", "spml.ties"])
def test_average_precision_of_thresholds_matches_the_reference(read, stored, case):
    found = average_precision_of_thresholds(read(f"{case}/preds"), read("spml/labels"))
    np.testing.assert_allclose(found / 100, stored(f"{case}/AP"), atol=1e-12)
    assert found.mean() == pytest.approx(stored(f"{case}/compute_metrics")[0], abs=1e-10)


@pytest.mark.parametrize("k", [1, 3, 5])
@pytest.mark.parametrize("case", ["spml.distinct", "spml.ties"])
def test_measures_at_k_match_the_reference_for_unambiguous_images(read, stored, golden, case, k):
    scores, targets = read(f"{case}/preds"), read("spml/labels")
    fixed = np.ones(len(scores), dtype=bool)
    if f"{case}/ambiguous_rows.k{k}" in golden.described(FILE):
        fixed = ~stored(f"{case}/ambiguous_rows.k{k}")
    precision, recall = (stored(f"{case}/{name}_at_{k}")[fixed] for name in ("precision", "recall"))
    assert precision_at(scores[fixed], targets[fixed], k) / 100 == pytest.approx(precision.mean())
    assert recall_at(scores[fixed], targets[fixed], k) / 100 == pytest.approx(recall.mean())
    assert hit_at(scores[fixed], targets[fixed], k) / 100 == pytest.approx((precision > 0).mean())


@pytest.mark.parametrize(("k", "first"), [(1, 1), (3, 4), (5, 7)])
def test_mean_measures_at_k_match_the_reference(read, stored, k, first):
    recall, precision, hit = stored("spml.distinct/compute_metrics")[first : first + 3]
    scores, targets = read("spml.distinct/preds"), read("spml/labels")
    assert recall_at(scores, targets, k) / 100 == pytest.approx(recall)
    assert precision_at(scores, targets, k) / 100 == pytest.approx(precision)
    assert hit_at(scores, targets, k) / 100 == pytest.approx(hit)
