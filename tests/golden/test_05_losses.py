"""The published losses, values and gradients: ranking, distillation, and fourteen for single positives."""

from typing import get_args

import pytest
import torch

from sigrl.training.losses.open_vocabulary import distillation_loss, ranking_loss
from sigrl.training.losses.options import SinglePositiveOptions
from sigrl.training.losses.single_positive import Targets, single_positive_loss

OPEN_VOCABULARY = "05a_rank_distill.npz"
RANKINGS = [
    "random",
    "degenerate_rows",
    "unlabelled_columns",
    "full_pos_neg",
    "all_unknown",
    "wide",
    "no_violation",
    "exact_margin_ties",
]

SINGLE_POSITIVE = "05b_spml_losses.npz"
SETS = ["pascal", "pascal_sat", "coco"]
LOSSES = ["bce", "bce_ls", "iun", "iu", "pr", "an", "an_ls", "wan", "epr", "role", "EM"]
LOSSES += ["EM_APL", "EM_APL.no_pseudo", "EM_PL.warmup", "EM_PL.after", "EM_PL_ASL.warmup", "EM_PL_ASL.after"]
OPTIONS = {kind.model_fields["kind"].default: kind for kind in get_args(get_args(SinglePositiveOptions)[0])}
PUBLISHED_NAMES = {
    "alpha": "entropy_weight",
    "beta": "pseudo_label_weight",
    "beta_pos": "positive_weight",
    "beta_neg": "negative_weight",
    "positive": "positive_exponent",
    "negative": "negative_exponent",
    "unknown": "unknown_exponent",
    "expected_num_pos": "expected_positives",
    "warmup_epoch": "warmup_epochs",
}


@pytest.mark.parametrize("name", RANKINGS)
def test_ranking_loss_matches_the_reference(golden, dtype, name):
    case = f"rank.{name}"
    golden.case(OPEN_VOCABULARY, case)
    logits = golden.array(OPEN_VOCABULARY, f"{case}/logits").to(dtype).requires_grad_()
    loss = ranking_loss(logits, golden.array(OPEN_VOCABULARY, f"{case}/labels"))
    (gradient,) = torch.autograd.grad(loss, logits)
    golden.compare(OPEN_VOCABULARY, f"{case}/loss", loss)
    golden.compare(OPEN_VOCABULARY, f"{case}/grad_logits", gradient)


def test_distillation_loss_matches_the_reference(golden, dtype):
    student = golden.array(OPEN_VOCABULARY, "l1/dist_feat").to(dtype).requires_grad_()
    loss = distillation_loss(student, golden.array(OPEN_VOCABULARY, "l1/teacher_dist_feat").to(dtype))
    (gradient,) = torch.autograd.grad(loss, student)
    golden.compare(OPEN_VOCABULARY, "l1/loss", loss)
    golden.compare(OPEN_VOCABULARY, "l1/grad_dist_feat", gradient)


def options_of(parameters: dict) -> SinglePositiveOptions:
    kind = parameters["loss"].lower()
    renamed = {ours: parameters[published] for published, ours in PUBLISHED_NAMES.items()}
    if kind in ("bce_ls", "an_ls"):
        renamed["smoothing"] = parameters["ls_coef"]
    fields = OPTIONS[kind].model_fields
    return OPTIONS[kind](**{name: value for name, value in renamed.items() if name in fields})


@pytest.fixture
def evaluate(golden):
    """(set of labels, loss, dtype) -> the loss, the logits and the estimator's logits, with gradients."""

    def run(labels: str, loss: str, dtype: torch.dtype):
        case = golden.case(SINGLE_POSITIVE, f"{labels}.{loss}")
        logits, full, pseudo, estimates, published = (
            golden.array(SINGLE_POSITIVE, name)
            for name in (
                f"{labels}/logits",
                f"{labels}/label_true",
                f"{labels}/pseudo_labels",
                f"{labels}/label_est",
                case["observed_labels"],
            )
        )
        logits = logits.to(dtype).requires_grad_()
        estimated_logits = estimates.double().logit().to(dtype).requires_grad_()
        # Published, a negative number is a known negative to `iu`, minus a soft pseudo-label to `em_apl`.
        is_soft = (published < 0) & (case["P"]["loss"] == "EM_APL")
        targets = Targets(
            observed=published.masked_fill(is_soft, 0),
            full=full,
            pseudo=pseudo,
            soft=torch.where(is_soft, -published, -1.0),
            estimated_logits=estimated_logits,
            epoch=case["P"]["epoch"],
        )
        return single_positive_loss(options_of(case["P"]), logits, targets), logits, estimated_logits

    return run


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("labels", SETS)
def test_single_positive_loss_matches_the_reference(golden, evaluate, dtype, labels, loss):
    name = f"{labels}.{loss}"
    parts, logits, estimated_logits = evaluate(labels, loss, dtype)
    (gradient,) = torch.autograd.grad(parts.total, logits, retain_graph=True)
    golden.compare(SINGLE_POSITIVE, f"{name}/loss_mtx", parts.elements)
    golden.compare(SINGLE_POSITIVE, f"{name}/loss", parts.total)
    golden.compare(SINGLE_POSITIVE, f"{name}/grad_logits", gradient)
    if f"{name}/reg" in golden.described(SINGLE_POSITIVE):
        golden.compare(SINGLE_POSITIVE, f"{name}/reg", parts.regularizer)
    if dtype == torch.float64:
        # A saturated sigmoid has left nothing of the gradient with respect to its probability.
        known = golden.array(SINGLE_POSITIVE, f"{name}/grad_preds.f64")
        ours = (gradient / (logits.sigmoid() * (-logits).sigmoid())).where(logits.abs() <= 12, known)
        golden.compare(SINGLE_POSITIVE, f"{name}/grad_preds", ours)
    if loss == "role":
        (gradient,) = torch.autograd.grad(parts.total, estimated_logits)
        estimates = golden.array(SINGLE_POSITIVE, f"{labels}/label_est").double()
        gradient = (gradient / (estimates * (1 - estimates))).to(dtype)
        golden.compare(SINGLE_POSITIVE, f"{name}/grad_label_est", gradient)


@pytest.mark.parametrize("loss", LOSSES)
def test_saturated_float32_loss_keeps_its_precision(golden, evaluate, loss):
    """The published float32 loses those of 1 - p; ours stays within a millionth of the float64 run."""
    elements = evaluate("pascal_sat", loss, torch.float32)[0].elements
    stored = golden.array(SINGLE_POSITIVE, f"pascal_sat.{loss}/loss_mtx.f64")
    assert (elements - stored).abs().max() <= 1e-6 * stored.abs().max()
