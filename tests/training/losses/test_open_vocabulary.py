"""Properties of ranking and distillation beyond the published numbers (tests/golden/test_05_losses.py)."""

import pytest
import torch

from sigrl.training.losses.open_vocabulary import distillation_loss, ranking_loss


def gradient_of(scores: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    scores = scores.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(ranking_loss(scores, labels), scores)
    return gradient


@pytest.fixture
def batch() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(6, 11, generator=generator)
    labels = torch.randint(-1, 2, (6, 11), generator=generator)
    labels[0] = -1
    labels[1] = 0
    return scores, labels


def test_ranking_loss_is_the_mean_cost_of_the_violated_pairs() -> None:
    scores = torch.tensor([[2.0, 0.5, 1.5, -3.0, 9.0]])
    labels = torch.tensor([[1, 1, -1, -1, 0]])
    # (2, 1.5) costs 0.5, (0.5, 1.5) costs 2; the pairs with -3 cost nothing, and 9 is unknown.
    assert ranking_loss(scores, labels).item() == pytest.approx(1.25)


def test_image_without_label_pairs_counts_in_the_mean(batch) -> None:
    scores, labels = batch
    whole, with_pairs = ranking_loss(scores, labels), ranking_loss(scores[2:], labels[2:])
    torch.testing.assert_close(6 * whole, 4 * with_pairs)
    assert ranking_loss(scores[:2], labels[:2]) == 0
    assert gradient_of(scores, labels)[:2].abs().max() == 0


def test_ranking_loss_does_not_depend_on_the_order_of_labels_or_images(batch) -> None:
    scores, labels = batch
    generator = torch.Generator().manual_seed(1)
    columns, rows = torch.randperm(11, generator=generator), torch.randperm(6, generator=generator)
    torch.testing.assert_close(
        ranking_loss(scores, labels), ranking_loss(scores[rows][:, columns], labels[rows][:, columns])
    )


def test_pair_exactly_on_the_margin_costs_nothing_but_has_a_gradient() -> None:
    scores, labels = torch.tensor([[1.0, 0.0, 3.0]]), torch.tensor([[1, -1, -1]])
    assert ranking_loss(scores, labels).item() == pytest.approx(3)
    assert gradient_of(scores, labels).tolist() == [[-2, 1, 1]]


def test_only_pair_on_the_margin_has_a_full_gradient() -> None:
    assert gradient_of(torch.tensor([[1.0, 0.0]]), torch.tensor([[1, -1]])).tolist() == [[-1, 1]]


def test_half_precision_scores_are_cast_to_float32(batch) -> None:
    scores, labels = batch
    loss = ranking_loss(scores.bfloat16(), labels)
    assert loss.dtype == torch.float32
    assert gradient_of(scores.bfloat16(), labels).isfinite().all()


def test_distillation_loss_gives_the_teacher_no_gradient() -> None:
    student, teacher = torch.ones(2, 3, requires_grad=True), torch.zeros(2, 3, requires_grad=True)
    loss = distillation_loss(student, teacher)
    loss.backward()
    assert loss == 1
    assert teacher.grad is None
    assert torch.equal(student.grad, torch.full((2, 3), 1 / 6))
