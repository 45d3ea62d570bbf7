"""The single-positive protocol's losses, by name in `LOSSES`; `single_positive_loss` applies the chosen one.

Deliberate differences from the published code: a known negative (-1) is a negative in every loss, not only in
`iu`; soft pseudo-labels have their own matrix, so that a probability of 1 is not a known negative; and
probabilities near 0 and 1 keep their digits (see `Prediction`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import Tensor

from sigrl.training.losses import options as of
from sigrl.training.losses.options import SinglePositiveOptions
from sigrl.training.losses.prediction import Prediction, predict


@dataclass(frozen=True)
class Targets:
    """What is known about the labels of a batch, and their pseudo-labels."""

    observed: Tensor
    """[B, C]: 1 positive, -1 negative, 0 unknown."""
    full: Tensor | None = None
    """[B, C]: all true labels, 0 or 1; needed by the references `bce`, `bce_ls` and `iun`."""
    pseudo: Tensor | None = None
    """[B, C]: VLPL's pseudo-labels, 1, -1, or 0 for none; needed by `em_pl` and `em_pl_asl`."""
    soft: Tensor | None = None
    """[B, C]: asymmetric pseudo-labels in 0..1, or -1 for none; needed by `em_apl`."""
    estimated_logits: Tensor | None = None
    """[B, C]: the logits of the label estimator that `role` trains beside the classifier."""
    epoch: int = 1
    """Counted from 1; used by losses with a warm-up."""

    @property
    def positive(self) -> Tensor:
        return self.observed == 1

    @property
    def negative(self) -> Tensor:
        return self.observed == -1

    @property
    def unknown(self) -> Tensor:
        return self.observed == 0

    def needed(self, field: str, loss: str) -> Tensor:
        tensor: Tensor | None = getattr(self, field)
        if tensor is None:
            raise ValueError(f"the loss {loss} needs targets.{field}: pass it, or choose another loss")
        return tensor


class LossParts(NamedTuple):
    """A loss before it is summed."""

    elements: Tensor
    """[B, C]."""
    regularizer: Tensor
    """[], of the batch as a whole."""

    @property
    def total(self) -> Tensor:
        """The value [] to minimise."""
        return self.elements.mean() + self.regularizer


def _whole(elements: Tensor) -> LossParts:
    return LossParts(elements, elements.new_zeros(()))


def _bce(logits: Tensor, targets: Targets, options: of.Bce) -> LossParts:
    full = targets.needed("full", options.kind)
    return _whole(predict(logits).of(full == 1, full == 0))


def _bce_ls(logits: Tensor, targets: Targets, options: of.BceLs) -> LossParts:
    full = targets.needed("full", options.kind)
    return _whole(predict(logits).of(full == 1, full == 0, options.smoothing))


def _iun(logits: Tensor, targets: Targets, options: of.Iun) -> LossParts:
    return _whole(predict(logits).of(targets.positive, targets.needed("full", options.kind) == 0))


def _iu(logits: Tensor, targets: Targets, _: of.Iu) -> LossParts:
    return _whole(predict(logits).of(targets.positive, targets.negative))


def _pr(logits: Tensor, targets: Targets, _: of.Pr) -> LossParts:
    # A pair costs max(0, 1 - p_i + p_j), which is never below 0, so the sum over j needs no pairs.
    prediction, positive = predict(logits), targets.positive
    others = (~positive).sum(1, keepdim=True)
    cost = others * prediction.q + prediction.p.masked_fill(positive, 0).sum(1, keepdim=True)
    return _whole(cost.masked_fill(~positive, 0))


def _an(logits: Tensor, targets: Targets, _: of.An) -> LossParts:
    return _whole(predict(logits).of(targets.positive, ~targets.positive))


def _an_ls(logits: Tensor, targets: Targets, options: of.AnLs) -> LossParts:
    return _whole(predict(logits).of(targets.positive, ~targets.positive, options.smoothing))


def _wan(logits: Tensor, targets: Targets, _: of.Wan) -> LossParts:
    elements = predict(logits).of(targets.positive, ~targets.positive)
    weight = 1 / max(elements.shape[1] - 1, 1)
    return _whole((weight * elements).where(targets.unknown, elements))


def _count_penalty(p: Tensor, expected_positives: float) -> Tensor:
    penalty: Tensor = (p.sum(1).mean() - expected_positives) ** 2 / p.shape[1] ** 2
    return penalty


def _epr(logits: Tensor, targets: Targets, options: of.Epr) -> LossParts:
    prediction = predict(logits)
    penalty = _count_penalty(prediction.p, options.expected_positives)
    return LossParts(prediction.of(targets.positive, targets.negative), penalty)


def _role(logits: Tensor, targets: Targets, options: of.Role) -> LossParts:
    prediction = predict(logits)
    estimate = predict(targets.needed("estimated_logits", options.kind))
    known = [part.of(targets.positive, targets.negative) for part in (prediction, estimate)]
    taught = prediction.against(estimate.p.detach(), estimate.q.detach())
    teaching = estimate.against(prediction.p.detach(), prediction.q.detach())
    penalties = [_count_penalty(part.p, options.expected_positives) for part in (prediction, estimate)]
    return LossParts(0.5 * (known[0] + known[1] + taught + teaching), 0.5 * (penalties[0] + penalties[1]))


def _entropy_maximized(prediction: Prediction, targets: Targets, weight: float) -> Tensor:
    known = prediction.of(targets.positive, targets.negative)
    return (-weight * prediction.entropy()).where(targets.unknown, known)


def _em(logits: Tensor, targets: Targets, options: of.Em) -> LossParts:
    return _whole(_entropy_maximized(predict(logits), targets, options.entropy_weight))


def _em_apl(logits: Tensor, targets: Targets, options: of.EmApl) -> LossParts:
    prediction = predict(logits)
    soft = targets.needed("soft", options.kind).to(prediction.p.dtype)
    elements = _entropy_maximized(prediction, targets, options.entropy_weight)
    pseudo = options.pseudo_label_weight * prediction.against(soft, 1 - soft)
    return _whole(pseudo.where(targets.unknown & (soft >= 0), elements))


def _em_pl(logits: Tensor, targets: Targets, options: of.EmPl) -> LossParts:
    prediction = predict(logits)
    pseudo = targets.needed("pseudo", options.kind)
    elements = _entropy_maximized(prediction, targets, options.entropy_weight)
    if targets.epoch <= options.warmup_epochs:
        return _whole(elements)
    smoothed = prediction.of(pseudo == 1, pseudo == -1, options.smoothing)
    elements = (options.positive_weight * smoothed).where(targets.unknown & (pseudo == 1), elements)
    return _whole((options.negative_weight * smoothed).where(targets.unknown & (pseudo == -1), elements))


def _em_pl_asl(logits: Tensor, targets: Targets, options: of.EmPlAsl) -> LossParts:
    prediction = predict(logits)
    pseudo = targets.needed("pseudo", options.kind)
    if targets.epoch <= options.warmup_epochs:
        return _whole(_entropy_maximized(prediction, targets, options.entropy_weight))
    positive = targets.positive | (targets.unknown & (pseudo == 1))
    negative = targets.negative | (targets.unknown & (pseudo == -1))
    if_positive = prediction.if_positive * prediction.q**options.positive_exponent
    if_negative = prediction.if_negative * prediction.p**options.negative_exponent
    if_unknown = -prediction.entropy() * prediction.q**options.unknown_exponent
    return _whole(if_positive.where(positive, if_negative.where(negative, if_unknown)))


LOSSES: dict[str, Callable[[Tensor, Targets, Any], LossParts]] = {
    "bce": _bce,
    "bce_ls": _bce_ls,
    "iun": _iun,
    "iu": _iu,
    "pr": _pr,
    "an": _an,
    "an_ls": _an_ls,
    "wan": _wan,
    "epr": _epr,
    "role": _role,
    "em": _em,
    "em_apl": _em_apl,
    "em_pl": _em_pl,
    "em_pl_asl": _em_pl_asl,
}


def single_positive_loss(options: SinglePositiveOptions, logits: Tensor, targets: Targets) -> LossParts:
    """The loss that `options` names, of logits [B, C]; minimise its `total`.

    Raises ValueError if a target that the loss needs is missing, or has another shape than the logits.
    """
    for field, tensor in vars(targets).items():
        if isinstance(tensor, Tensor) and tensor.shape != logits.shape:
            raise ValueError(
                f"targets.{field} has shape {list(tensor.shape)}, the logits {list(logits.shape)}: "
                "give one value per photograph and label"
            )
    return LOSSES[options.kind](logits, targets, options)
