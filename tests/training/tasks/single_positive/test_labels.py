"""Known labels and pseudo-labels: pseudo-labels by epoch, and ROLE's label estimator."""

import torch
from pydantic import TypeAdapter

from sigrl.training.losses.options import EmApl, Role, SinglePositiveOptions
from sigrl.training.losses.single_positive import single_positive_loss
from sigrl.training.tasks.single_positive.labels import LabelEstimator, TrainingLabels

OBSERVED = torch.tensor([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 0, 0]], dtype=torch.int8)
COMPLETE = torch.tensor([[1, 1, -1], [-1, 1, -1], [1, -1, 1], [1, -1, -1]], dtype=torch.int8)


def options(**content: object) -> SinglePositiveOptions:
    return TypeAdapter(SinglePositiveOptions).validate_python(content)


def test_pseudo_labels_are_made_after_warm_up_but_not_the_last_epoch() -> None:
    labels = TrainingLabels(
        options(kind="em_apl", entropy_weight=0.1, pseudo_label_weight=0.5, warmup_epochs=2),
        5,
        OBSERVED,
        COMPLETE,
    )
    assert [labels.guesses_after(epoch) for epoch in range(5)] == [False, True, True, True, False]
    none = TrainingLabels(options(kind="an"), 5, OBSERVED, COMPLETE)
    assert not any(none.guesses_after(epoch) for epoch in range(5))
    assert none.state() == {}


def test_pseudo_labels_grow_by_quota_and_are_restored_from_state() -> None:
    chosen = EmApl(entropy_weight=0.1, pseudo_label_weight=0.5, warmup_epochs=0, negative_share=1.0)
    labels = TrainingLabels(chosen, 3, OBSERVED, COMPLETE)
    logits = torch.tensor([[0.0, -3, 2], [-1, 0, -2], [-2, 1, 0], [0, -1, -4]])
    labels.guess(logits)
    # Each class has two or three unknown labels and three epochs: one label per epoch, the least likely.
    soft = labels.targets(torch.arange(4), 1).soft
    assert soft is not None
    assert (soft >= 0).nonzero().tolist() == [[0, 1], [3, 2]]
    assert soft[0, 1] == logits[0, 1].sigmoid()
    restored = TrainingLabels(chosen, 3, OBSERVED, COMPLETE)
    restored.load_state(labels.state())
    labels.guess(-logits)
    restored.guess(-logits)
    assert torch.equal(labels.state()["soft"], restored.state()["soft"])
    assert (labels.state()["soft"] >= 0).sum() > 2


def test_targets_return_the_requested_rows_and_one_based_epochs() -> None:
    pseudo = torch.tensor([[0, 1, 0], [0, 0, 0], [-1, 0, 0], [0, 0, 0]])
    labels = TrainingLabels(options(kind="em_pl", entropy_weight=0.1), 3, OBSERVED, COMPLETE, pseudo)
    targets = labels.targets(torch.tensor([2, 0]), 0)
    assert targets.epoch == 1
    assert targets.observed.tolist() == [[0, 0, 1], [1, 0, 0]]
    assert targets.full is not None
    assert targets.full.tolist() == [[1, 0, 1], [1, 1, 0]]
    assert targets.pseudo is not None
    assert targets.pseudo.tolist() == [[-1, 0, 0], [0, 1, 0]]
    assert targets.soft is None


def test_estimator_has_the_published_initial_values() -> None:
    observed = OBSERVED.repeat(50, 1)
    observed[0, 1] = -1
    torch.manual_seed(0)
    probabilities = LabelEstimator(observed).logits.sigmoid()
    torch.testing.assert_close(probabilities[observed == 1], torch.full((200,), 0.995))
    torch.testing.assert_close(probabilities[observed == -1], torch.tensor([0.005]))
    unknown = probabilities[observed == 0]
    assert 0.4 <= unknown.min() < 0.41
    assert 0.59 < unknown.max() <= 0.6


def test_estimator_learns_from_the_classifier() -> None:
    """Where the classifier is certain the estimate follows it, and the classifier's own logits are
    unaffected."""
    torch.manual_seed(0)
    estimator, role = LabelEstimator(OBSERVED), Role(expected_positives=1.5)
    before = estimator.logits.detach().clone()
    sure = torch.where(COMPLETE == 1, 4.0, -4.0)
    optimizer = torch.optim.Adam(estimator.parameters(), lr=0.05)
    labels, rows = TrainingLabels(role, 3, OBSERVED, COMPLETE), torch.arange(4)
    for _ in range(100):
        optimizer.zero_grad()
        single_positive_loss(role, sure, labels.targets(rows, 0, estimator(rows))).total.backward()
        optimizer.step()
    unknown = OBSERVED == 0
    assert ((before > 0) != (COMPLETE == 1))[unknown].any()
    assert ((estimator.logits > 0) == (COMPLETE == 1)).all()
