"""The open-vocabulary protocol's two losses: rank the labels, and stay close to the frozen teacher."""

import torch
from torch import Tensor
from torch.nn import functional

_EPSILON = 1e-8
"""Added to the number of violated pairs, as published."""


def ranking_loss(scores: Tensor, labels: Tensor) -> Tensor:
    """Margin ranking loss [] of scores [B, C] under labels [B, C] in {-1, 0, 1}; 0 is unknown and ignored.

    Each (positive, negative) pair of an image costs max(0, 1 + negative - positive). The sum is divided by
    the number of pairs with a cost, and averaged over all images, including those without a pair. A pair
    exactly on the margin is not counted but passes gradient, as in the published code.

    Deliberate difference: an image whose costs are all 0 has divisor 1, not 1e-8, so a pair on its margin has
    an ordinary gradient instead of one 1e8 times as large. Memory is O(B C positives per image), not O(B
    C^2).
    """
    scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
    most_positives = int((labels > 0).sum(1).max())
    is_positive, columns = (labels > 0).to(scores.dtype).topk(most_positives, dim=1)
    positives = scores.gather(1, columns)
    cost = 1 + scores[:, None, :] - positives[:, :, None]
    is_pair = (is_positive > 0)[:, :, None] & (labels < 0)[:, None, :]
    # clamp, not relu, because relu has no gradient at 0.
    cost = cost.clamp(min=0).where(is_pair, cost.new_zeros(()))
    violated = (cost > 0).sum((1, 2)).to(cost.dtype)
    return (cost.sum((1, 2)) / (violated + _EPSILON).where(violated > 0, violated.new_ones(()))).mean()


def distillation_loss(image_embeddings: Tensor, teacher_embeddings: Tensor) -> Tensor:
    """Mean absolute difference [] of image embeddings [B, D] from the teacher's, which get no gradient.

    If both are exactly equal the gradient is 0: run student and teacher with the same kernels.
    """
    return functional.l1_loss(image_embeddings, teacher_embeddings.detach())
