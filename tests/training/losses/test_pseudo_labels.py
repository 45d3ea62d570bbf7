"""Properties of pseudo-labels beyond the published numbers (tests/golden/test_05_pseudo_labels.py)."""

import pytest
import torch

from sigrl.training.losses.pseudo_labels import (
    VlplOptions,
    asymmetric_pseudo_labels,
    label_similarity,
    negative_quotas,
    vlpl_pseudo_labels,
)

NOTHING_YET = torch.full((4, 2), -1.0)


def test_the_least_likely_unknown_labels_become_soft_negatives() -> None:
    logits = torch.tensor([[-3.0, 1.0], [-9.0, 2.0], [-1.0, 3.0], [-2.0, 4.0]])
    observed = torch.tensor([[0, 0], [1, 0], [0, -1], [0, 0]])
    soft = asymmetric_pseudo_labels(logits, observed, NOTHING_YET, torch.tensor([2, 1]))
    expected = NOTHING_YET.clone()
    expected[0, 0], expected[3, 0], expected[0, 1] = logits.sigmoid()[[0, 3, 0], [0, 0, 1]]
    assert torch.equal(soft, expected)
    assert torch.equal(NOTHING_YET, torch.full((4, 2), -1.0))


def test_later_epochs_keep_earlier_pseudo_labels() -> None:
    quotas = torch.tensor([1, 1])
    first = asymmetric_pseudo_labels(torch.zeros(4, 2), torch.zeros(4, 2), NOTHING_YET, quotas)
    second = asymmetric_pseudo_labels(torch.ones(4, 2), torch.zeros(4, 2), first, quotas)
    assert torch.equal(second[first >= 0], first[first >= 0])
    assert (second >= 0).sum(0).tolist() == [2, 2]


def test_quota_above_the_remaining_count_takes_all_unknown_labels() -> None:
    observed = torch.tensor([[1, 0], [1, 0], [1, 0], [0, 0]])
    soft = asymmetric_pseudo_labels(torch.zeros(4, 2), observed, NOTHING_YET, torch.tensor([9, 9]))
    assert torch.equal(soft >= 0, observed == 0)


def test_zero_probability_is_a_valid_pseudo_label() -> None:
    logits = torch.full((4, 2), -200.0)
    soft = asymmetric_pseudo_labels(logits, torch.zeros(4, 2), NOTHING_YET, torch.tensor([4, 4]))
    assert (soft == 0).all()


def test_negative_quotas_sum_to_the_share_within_rounding() -> None:
    assert negative_quotas(torch.tensor([100, 7, 0]), 0.9, 10).tolist() == [9, 0, 0]
    with pytest.raises(ValueError, match="no epoch is left after the warm-up"):
        negative_quotas(torch.tensor([100]), 0.9, 0)


def test_similarity_ignores_the_image_embedding_norm() -> None:
    generator = torch.Generator().manual_seed(0)
    images, labels = torch.randn(3, 8, generator=generator), torch.eye(5, 8)
    similarity = label_similarity(images, labels, 0.1)
    torch.testing.assert_close(similarity.sum(1), torch.ones(3))
    torch.testing.assert_close(label_similarity(50 * images, labels, 0.1), similarity)


def test_vlpl_positives_exceed_the_threshold_and_negatives_are_lowest() -> None:
    similarity = torch.tensor([[0.5, 0.3, 0.15, 0.05], [0.1, 0.2, 0.3, 0.4]])
    chosen = vlpl_pseudo_labels(similarity, VlplOptions(threshold=0.3, negative_share=0.5))
    assert chosen.tolist() == [[1, 0, -1, -1], [-1, -1, 0, 1]]
    assert vlpl_pseudo_labels(similarity, VlplOptions(threshold=0.1)).tolist()[1] == [0, 1, 1, 1]
