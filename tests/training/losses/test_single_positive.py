"""Properties of every single-positive loss beyond the published numbers (tests/golden/test_05_losses.py)."""

from dataclasses import replace

import pytest
import torch
import yaml
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from sigrl.training.losses.options import SinglePositiveOptions
from sigrl.training.losses.single_positive import LOSSES, LossParts, Targets, single_positive_loss

NEEDED = {
    "epr": {"expected_positives": 1.5},
    "role": {"expected_positives": 1.5},
    "em": {"entropy_weight": 0.2},
    "em_apl": {"entropy_weight": 0.2, "pseudo_label_weight": 0.5, "warmup_epochs": 5},
    "em_pl": {"entropy_weight": 0.2, "negative_weight": 0.3},
    "em_pl_asl": {"entropy_weight": 0.2},
}
SIDE_INPUTS = {
    "bce": "full",
    "bce_ls": "full",
    "iun": "full",
    "role": "estimated_logits",
    "em_apl": "soft",
    "em_pl": "pseudo",
    "em_pl_asl": "pseudo",
}
KINDS = sorted(LOSSES)


def options(kind: str, **changes: float) -> SinglePositiveOptions:
    return TypeAdapter(SinglePositiveOptions).validate_python(
        {"kind": kind, **NEEDED.get(kind, {}), **changes}
    )


def targets(rows: int = 5, columns: int = 7) -> Targets:
    """Targets with every combination of known labels and pseudo-labels."""
    generator = torch.Generator().manual_seed(0)
    observed, pseudo = (torch.randint(-1, 2, (rows, columns), generator=generator) for _ in range(2))
    observed[-1] = 0
    soft = torch.rand(rows, columns, generator=generator)
    return Targets(
        observed=observed,
        full=(observed == 1).long(),
        pseudo=pseudo,
        soft=torch.where(pseudo == 0, -1, soft),
        estimated_logits=torch.randn(rows, columns, generator=generator),
    )


def logits_like(given: Targets, scale: float = 2.0) -> Tensor:
    return scale * torch.randn(given.observed.shape, generator=torch.Generator().manual_seed(1))


def one_label(kind: str, observed: int, logit: float = 0.0, **fields: float) -> float:
    """The loss of a single label without its regulariser."""
    given = Targets(
        observed=torch.tensor([[observed]]),
        full=torch.tensor([[int(observed == 1)]]),
        **{name: torch.tensor([[value]]) for name, value in fields.items()},
    )
    parts = single_positive_loss(options(kind), torch.tensor([[logit]]), given)
    return parts.elements.item()


def permuted(given: Targets, rows: Tensor, columns: Tensor) -> Targets:
    tensors = {name: value for name, value in vars(given).items() if isinstance(value, Tensor)}
    return replace(given, **{name: value[rows][:, columns] for name, value in tensors.items()})


@pytest.mark.parametrize("kind", KINDS)
def test_loss_does_not_depend_on_the_order_of_labels_or_images(kind: str) -> None:
    given = targets()
    logits = logits_like(given)
    generator = torch.Generator().manual_seed(2)
    rows, columns = torch.randperm(5, generator=generator), torch.randperm(7, generator=generator)
    straight = single_positive_loss(options(kind), logits, given)
    shuffled = single_positive_loss(options(kind), logits[rows][:, columns], permuted(given, rows, columns))
    torch.testing.assert_close(shuffled.elements, straight.elements[rows][:, columns])
    torch.testing.assert_close(shuffled.total, straight.total)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("size", [0.0, 20.0, 1e4, float("inf")])
@pytest.mark.parametrize("kind", KINDS)
def test_loss_and_gradient_are_finite_for_saturated_sigmoid(
    kind: str, size: float, dtype: torch.dtype
) -> None:
    given = targets()
    signs = torch.where(logits_like(given) > 0, size, -size).to(dtype)
    logits, estimated = signs.clone().requires_grad_(), (-signs).requires_grad_()
    parts = single_positive_loss(options(kind), logits, replace(given, estimated_logits=estimated))
    parts.total.backward()
    assert parts.total.dtype == torch.float32
    assert parts.elements.isfinite().all()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
    if kind == "role":
        assert estimated.grad is not None
        assert estimated.grad.isfinite().all()


# `role` detaches the targets that it learns from, which finite differences do not.
@pytest.mark.parametrize("kind", sorted(LOSSES.keys() - {"role"}))
def test_gradient_matches_finite_differences(kind: str) -> None:
    given = targets(3, 4)

    def total(logits: Tensor) -> Tensor:
        return single_positive_loss(options(kind), logits, given).total

    assert torch.autograd.gradcheck(total, logits_like(given).double().requires_grad_())


@pytest.mark.parametrize("kind", KINDS)
def test_gradient_raises_positives_and_lowers_negatives(kind: str) -> None:
    given = replace(targets(), estimated_logits=torch.zeros(5, 7))
    logits = torch.zeros(5, 7, requires_grad=True)
    parts = single_positive_loss(options(kind), logits, given)
    (gradient,) = torch.autograd.grad(parts.elements.sum(), logits)
    assert (gradient[given.positive] < 0).all()
    assert (gradient[given.negative] > 0).all()


@pytest.mark.parametrize(("kind", "field"), SIDE_INPUTS.items())
def test_missing_target_is_reported_by_name(kind: str, field: str) -> None:
    given = targets()
    with pytest.raises(ValueError, match=rf"the loss {kind} needs targets\.{field}"):
        single_positive_loss(options(kind), logits_like(given), replace(given, **{field: None}))


def test_targets_of_wrong_shape_are_rejected() -> None:
    given = targets()
    with pytest.raises(ValueError, match=r"targets\.observed has shape \[5, 7\], the logits \[5, 1\]"):
        single_positive_loss(options("an"), torch.zeros(5, 1), given)


@pytest.mark.parametrize("kind", ["em_apl", "em_pl", "em_pl_asl"])
def test_observed_labels_override_pseudo_labels(kind: str) -> None:
    guesses = [{"soft": soft, "pseudo": pseudo} for soft, pseudo in ((1.0, 1), (0.0, -1), (-1.0, 0))]
    for observed in (1, -1):
        assert len({one_label(kind, observed, 0.7, **guess) for guess in guesses}) == 1
    assert len({one_label(kind, 0, 0.7, **guess) for guess in guesses}) == 3


@pytest.mark.parametrize("kind", ["em_pl", "em_pl_asl"])
def test_pseudo_labels_are_ignored_during_warm_up(kind: str) -> None:
    given = targets()
    logits = logits_like(given)

    def elements(epoch: int) -> Tensor:
        chosen = options(kind, warmup_epochs=2)
        return single_positive_loss(chosen, logits, replace(given, epoch=epoch)).elements

    entropy_only = single_positive_loss(options("em"), logits, given).elements
    assert torch.equal(elements(1), entropy_only)
    assert torch.equal(elements(2), entropy_only)
    assert not torch.equal(elements(3), entropy_only)


def test_em_pl_weights_pseudo_labels_as_configured() -> None:
    half = -torch.tensor(0.5 + 1e-5).log().item()
    assert one_label("em_pl", 0, pseudo=-1) == pytest.approx(0.3 * half)
    assert one_label("em_pl", 0, pseudo=1) == pytest.approx(0.7 * half)


def test_em_apl_soft_label_of_one_is_not_treated_as_negative() -> None:
    assert one_label("em_apl", 0, 20.0, soft=1.0) == pytest.approx(0, abs=1e-4)
    assert one_label("em_apl", -1, 20.0, soft=-1.0) > 10


def test_role_trains_classifier_and_estimator_on_each_others_output() -> None:
    given = replace(targets(), observed=torch.zeros(5, 7, dtype=torch.long))
    logits = logits_like(given).requires_grad_()
    estimated = given.estimated_logits.clone().requires_grad_()
    parts = single_positive_loss(options("role"), logits, replace(given, estimated_logits=estimated))
    to_logits, to_estimates = torch.autograd.grad(parts.elements.sum(), (logits, estimated))
    difference = logits.sigmoid() - estimated.sigmoid()
    torch.testing.assert_close(to_logits, 0.5 * difference, atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(to_estimates, -0.5 * difference, atol=1e-4, rtol=1e-3)


def test_unsigned_and_signed_labels_give_the_same_loss() -> None:
    given = replace(targets(), observed=torch.eye(5, 7).long())
    unsigned = replace(given, observed=given.observed.byte(), full=given.full.byte())
    logits = logits_like(given)
    for kind in KINDS:
        expected: LossParts = single_positive_loss(options(kind), logits, given)
        assert torch.equal(single_positive_loss(options(kind), logits, unsigned).elements, expected.elements)


def test_single_label_has_a_finite_loss() -> None:
    for kind in KINDS:
        given = targets(3, 1)
        assert single_positive_loss(options(kind), torch.zeros(3, 1), given).total.isfinite()


def test_yaml_options_select_a_loss_and_its_parameters() -> None:
    chosen = yaml.safe_load("loss: {kind: role, expected_positives: 2.9}")["loss"]
    role = TypeAdapter(SinglePositiveOptions).validate_python(chosen)
    assert role.kind == "role"
    assert role.expected_positives == 2.9
    with pytest.raises(ValidationError, match="frozen"):
        role.expected_positives = 3.0


@pytest.mark.parametrize(
    ("chosen", "named"),
    [
        ({"kind": "roll"}, "roll"),
        ({"kind": "em"}, "entropy_weight"),
        ({"kind": "em", "entropy_weight": -1}, "entropy_weight"),
        ({"kind": "an", "entropy_weight": 0.1}, "entropy_weight"),
        ({"kind": "em_pl_asl", "entropy_weight": 0.1, "positive_exponent": 0.5}, "positive_exponent"),
    ],
)
def test_unknown_loss_options_are_rejected_by_name(chosen: dict, named: str) -> None:
    with pytest.raises(ValidationError, match=named):
        TypeAdapter(SinglePositiveOptions).validate_python(chosen)


def test_every_loss_option_kind_has_a_loss() -> None:
    schema = TypeAdapter(SinglePositiveOptions).json_schema()
    assert set(schema["discriminator"]["mapping"]) == set(LOSSES)
