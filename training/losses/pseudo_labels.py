"""Guesses at the labels that nobody gave: AckTheUnknown's, made once an epoch, and VLPL's, made once."""

import torch
from torch import Tensor
from torch.nn import functional

from sigrl.model.config import Frozen
from sigrl.training.losses.options import Share


def negative_quotas(unknown: Tensor, negative_share: float, epochs: int) -> Tensor:
    """How many pseudo-negatives each class gets per epoch [C], of `unknown` [C] labels at the start, so that
    `negative_share` of them have one after `epochs` epochs (those after the warm-up), rounded down per epoch.

    Raises ValueError when no epoch is left for it.
    """
    if epochs < 1:
        raise ValueError("no epoch is left after the warm-up: pseudo-labels need at least one")
    return (unknown.double() * negative_share / epochs).long()


def asymmetric_pseudo_labels(logits: Tensor, observed: Tensor, soft: Tensor, quotas: Tensor) -> Tensor:
    """One epoch's step of asymmetric pseudo-labelling: `soft` [N, C] with new pseudo-labels in it.

    `logits` [N, C] are those that the epoch saw, `observed` [N, C] the labels, 0 where unknown, `soft` [N, C]
    what earlier epochs left, -1 where nothing, `quotas` [C] from `negative_quotas`. In each class the least
    likely of the labels still unknown, as many as the quota or as there are, become negatives, softly: their
    target is the probability they have now, for good. No positives are made, hence the name.

    Knowingly different from the published step where probabilities are equal in float32: logits may still
    tell them apart, and of equal logits the first is taken, in whatever order a loader showed them.
    """
    unknown = (observed == 0) & (soft < 0)
    order = logits.masked_fill(~unknown, torch.inf).argsort(dim=0, stable=True)
    positions = torch.arange(len(logits), device=logits.device)[:, None].expand_as(order)
    rank = torch.empty_like(order).scatter_(0, order, positions)
    return torch.where(unknown & (rank < quotas), logits.sigmoid().to(soft.dtype), soft)


class VlplOptions(Frozen):
    """How VLPL makes its pseudo-labels."""

    temperature: float = 0.03
    """Divides the cosines of image and label before their softmax over the labels (`temp`)."""
    threshold: Share = 0.3
    """A label above it is a pseudo-positive."""
    negative_share: Share = 0.0
    """Share of the labels, the least similar to a photograph, that are its pseudo-negatives (`partial`)."""


def label_similarity(image_embeddings: Tensor, label_embeddings: Tensor, temperature: float) -> Tensor:
    """Softmax over the labels [N, C] of cosine / temperature; image embeddings [N, D] of any norm, label
    embeddings [C, D] of unit norm."""
    cosines = functional.normalize(image_embeddings, dim=-1) @ label_embeddings.T
    return (cosines / temperature).softmax(dim=-1)


def vlpl_pseudo_labels(similarity: Tensor, options: VlplOptions) -> Tensor:
    """Pseudo-labels [N, C] in {-1, 0, 1} from `label_similarity`'s [N, C].

    A label that is above the threshold and among the least similar is a negative, as published. At a low
    temperature many similarities are 0 in float32: which of equal ones become negative is left to `topk`.
    """
    labels = (similarity > options.threshold).to(similarity.dtype)
    count = int(options.negative_share * similarity.shape[1])
    least = similarity.topk(count, dim=1, largest=False).indices
    return labels.scatter(1, least, -1.0)
