"""Pseudo-labels: AckTheUnknown's, which are made once per epoch, and VLPL's, which are made once."""

import torch
from torch import Tensor
from torch.nn import functional

from sigrl.model.config import Frozen
from sigrl.training.losses.options import Share


def negative_quotas(unknown: Tensor, negative_share: float, epochs: int) -> Tensor:
    """Number of pseudo-negatives per class and epoch [C], from the number of `unknown` labels [C] at the
    start. After `epochs` epochs (those after the warm-up) a share of `negative_share` has one; rounded down
    per epoch.

    Raises ValueError when no epoch is left.
    """
    if epochs < 1:
        raise ValueError("no epoch is left after the warm-up: pseudo-labels need at least one")
    return (unknown.double() * negative_share / epochs).long()


def asymmetric_pseudo_labels(logits: Tensor, observed: Tensor, soft: Tensor, quotas: Tensor) -> Tensor:
    """One epoch's step of asymmetric pseudo-labelling: returns `soft` [N, C] with the new pseudo-labels.

    `logits` [N, C] are those of this epoch; `observed` [N, C] are the labels, 0 where unknown; `soft` [N, C]
    are the pseudo-labels of earlier epochs, -1 where there is none; `quotas` [C] are from `negative_quotas`.
    In each class, the least likely labels that are still unknown, up to the quota, become soft negatives:
    their target is fixed at the probability they have now. No positives are made, hence the name.

    Deliberate difference: where probabilities are equal in float32, the logits may still distinguish them,
    and of equal logits the first is taken, independent of a loader's order.
    """
    unknown = (observed == 0) & (soft < 0)
    order = logits.masked_fill(~unknown, torch.inf).argsort(dim=0, stable=True)
    positions = torch.arange(len(logits), device=logits.device)[:, None].expand_as(order)
    rank = torch.empty_like(order).scatter_(0, order, positions)
    return torch.where(unknown & (rank < quotas), logits.sigmoid().to(soft.dtype), soft)


class VlplOptions(Frozen):
    """How VLPL makes its pseudo-labels."""

    temperature: float = 0.03
    """Divisor of the cosines of image and label before the softmax over the labels (`temp`)."""
    threshold: Share = 0.3
    """A label above this similarity is a pseudo-positive."""
    negative_share: Share = 0.0
    """Share of the labels that are pseudo-negatives of a photograph: the least similar ones (`partial`)."""


def label_similarity(image_embeddings: Tensor, label_embeddings: Tensor, temperature: float) -> Tensor:
    """Softmax over the labels [N, C] of cosine / temperature, of image embeddings [N, D] with any norm and
    label embeddings [C, D] with unit norm."""
    cosines = functional.normalize(image_embeddings, dim=-1) @ label_embeddings.T
    return (cosines / temperature).softmax(dim=-1)


def vlpl_pseudo_labels(similarity: Tensor, options: VlplOptions) -> Tensor:
    """Pseudo-labels [N, C] in {-1, 0, 1} from the similarities [N, C] of `label_similarity`.

    A label that is above the threshold and also among the least similar is a negative, as published. At a low
    temperature many similarities are 0 in float32; `topk` decides which of them become negative.
    """
    labels = (similarity > options.threshold).to(similarity.dtype)
    count = int(options.negative_share * similarity.shape[1])
    least = similarity.topk(count, dim=1, largest=False).indices
    return labels.scatter(1, least, -1.0)
