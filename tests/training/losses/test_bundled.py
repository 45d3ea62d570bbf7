import pytest
import torch
from torch.nn import functional

from sigrl.training.losses import caption_loss, cosine_distance, label_loss, soft_targets, standardize


def test_label_loss_sums_over_labels_and_averages_over_images() -> None:
    logits, targets = torch.zeros(4, 5), torch.eye(4, 5)
    assert label_loss(logits, targets).item() == pytest.approx(5 * 0.693147, rel=1e-5)
    assert label_loss(40 * (2 * targets - 1), targets).item() == pytest.approx(0, abs=1e-6)


def test_caption_loss_is_lowest_for_matching_captions() -> None:
    captions = torch.eye(6)
    matched = caption_loss(captions, captions, torch.tensor(20.0))
    shuffled = caption_loss(captions.roll(1, 0), captions, torch.tensor(20.0))
    assert matched < 0.01
    assert shuffled > 10


def test_swapping_identical_captions_does_not_change_the_loss() -> None:
    captions = functional.normalize(torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]), dim=-1)
    swapped = captions[[1, 0, 2]]
    scale = torch.tensor(10.0)
    torch.testing.assert_close(
        caption_loss(captions, captions, scale), caption_loss(swapped, captions, scale)
    )


def test_caption_loss_of_no_captions_is_zero() -> None:
    nothing = torch.zeros(0, 3, requires_grad=True)
    assert caption_loss(nothing, nothing, torch.tensor(1.0)).item() == 0


def test_caption_loss_gives_captions_no_gradient() -> None:
    images = functional.normalize(torch.randn(4, 3, generator=torch.Generator().manual_seed(0)), dim=-1)
    captions = images.clone().requires_grad_()
    caption_loss(images, captions, torch.tensor(0.0)).backward()
    assert captions.grad is not None
    assert captions.grad.abs().max() == 0


def test_cosine_distance_of_equal_opposite_and_orthogonal_rows() -> None:
    rows = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    assert cosine_distance(rows, 3 * rows).item() == pytest.approx(0)
    assert cosine_distance(rows, -rows).item() == pytest.approx(2)
    assert cosine_distance(rows, rows.flip(0)).item() == pytest.approx(1)


def test_standardize_gives_each_label_zero_mean_and_unit_deviation() -> None:
    scores = 5 + 3 * torch.randn(50, 8, generator=torch.Generator().manual_seed(0))
    standardized = standardize(scores)
    torch.testing.assert_close(standardized.mean(0), torch.zeros(8), atol=1e-5, rtol=0)
    torch.testing.assert_close(standardized.std(0), torch.ones(8))
    # Scaling or shifting a photograph's scores changes nothing.
    torch.testing.assert_close(standardize(scores * 7 - 2), standardized, atol=1e-4, rtol=1e-4)


def test_soft_targets_are_half_at_two_deviations_above_the_mean() -> None:
    targets = soft_targets(torch.tensor([-3.0, 0.0, 2.0, 5.0]))
    assert targets[2] == 0.5
    assert targets.tolist() == sorted(targets.tolist())
    assert targets[1] < 0.02
