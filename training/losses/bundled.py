"""Losses of the bundled checkpoint's recipe (`pretrain` and `fit`) as pure functions."""

import torch
from torch import Tensor
from torch.nn import functional


def label_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Binary cross-entropy of logits [B, C] against targets [B, C] in 0..1: sum over labels, mean over B."""
    return functional.binary_cross_entropy_with_logits(logits, targets, reduction="none").sum(1).mean()


def caption_loss(image_embeddings: Tensor, caption_embeddings: Tensor, scale: Tensor) -> Tensor:
    """Contrastive loss [] of photographs and captions [B, D], both of unit norm.

    Two captions of a batch may say the same thing, so the targets are a sharp softmax of the captions' own
    similarities, not the identity. Without a pair the loss is 0.
    """
    if len(image_embeddings) == 0:
        return image_embeddings.sum()
    similarity = scale * image_embeddings @ caption_embeddings.T
    targets = (caption_embeddings.detach() @ caption_embeddings.detach().T / 0.05).softmax(dim=1)
    per_image = -(targets * similarity.log_softmax(dim=1)).sum(1)
    per_caption = -(targets * similarity.T.log_softmax(dim=1)).sum(1)
    return 0.5 * (per_image + per_caption).mean()


def cosine_distance(features: Tensor, targets: Tensor) -> Tensor:
    """One minus the cosine of corresponding rows [B, D], averaged over B []."""
    return 1 - functional.cosine_similarity(features, targets, dim=-1).mean()


def standardize(scores: Tensor) -> Tensor:
    """Scores [N, C] with mean 0 and deviation 1, first per photograph over labels, then per label (SPARC,
    CVPR 2025)."""
    scores = (scores - scores.mean(1, keepdim=True)) / scores.std(1, keepdim=True)
    standardized: Tensor = (scores - scores.mean(0)) / scores.std(0)
    return standardized


def soft_targets(standardized: Tensor) -> Tensor:
    """Targets in 0..1 for standardised teacher scores; a score of 2 deviations becomes 0.5."""
    return torch.sigmoid(2 * (standardized - 2))
