"""A prediction of independent labels, prepared for the single-positive losses."""

from typing import NamedTuple

import torch
from torch import Tensor

_EPSILON = 1e-5


class Prediction(NamedTuple):
    """Probabilities and their costs, all [B, C]. Masks are boolean [B, C]."""

    p: Tensor
    """Probability that the label applies."""
    q: Tensor
    """Probability that it does not: sigmoid(-logit), because 1 - sigmoid(logit) loses all digits at a large
    logit."""
    if_positive: Tensor
    """-log(p + 1e-5), as published: at most 11.6, with a finite gradient at p = 0."""
    if_negative: Tensor
    """-log(q + 1e-5)."""

    def against(self, positive: Tensor | float, negative: Tensor | float) -> Tensor:
        """Cross-entropy under the weights `positive` and `negative`, which sum to 1."""
        return positive * self.if_positive + negative * self.if_negative

    def entropy(self) -> Tensor:
        """The entropy of each label; gradient flows through the weights and the logarithms."""
        return self.against(self.p, self.q)

    def of(self, positive: Tensor, negative: Tensor, smoothing: float = 0.0) -> Tensor:
        """Cross-entropy where a mask is true, 0 elsewhere, with targets moved from 0 and 1 by `smoothing`."""
        as_positive = self.against(1 - smoothing, smoothing)
        as_negative = self.against(smoothing, 1 - smoothing)
        zero = self.p.new_zeros(())
        return as_positive.where(positive, as_negative.where(negative, zero))


def predict(logits: Tensor) -> Prediction:
    """The prediction of `logits` [B, C]; half precision is cast to float32, because it would lose 1e-5."""
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    p, q = logits.sigmoid(), (-logits).sigmoid()
    return Prediction(p, q, -(p + _EPSILON).log(), -(q + _EPSILON).log())
