"""The patch classifier of PIAA (Wang et al.: [CLS] is Not Enough, ICML 2026, arXiv 2605.25821).

PIAA finds out what each label looks like on patches of unlabelled photographs, which needs no training: the
surest patches of each label become a Gaussian, and Gaussians with one covariance give a linear classifier of
patches. Its scores stand in for the text's, whose features lie apart from those of images. The formulas and
constants are those of the published code (github.com/akang-wang/PIAA, learn.py and test.py).

The paper also changes the image tower's last blocks (SC-CLIP); here patches are as the tower gives them.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from sigrl.model.config import HeadConfig
from sigrl.model.features import ImageFeatures, LabelFeatures
from sigrl.model.matching import MatchingHead

PATCHES_PER_LABEL = 512
_TEXT_SCALE = 60.0
_SURE_SCALE, _GLOBAL_SCALE, _PATCH_SCALE = 100.0, 80.0, 200.0
"""The published code's for VOC. It has others for other data sets: 0.01, 80 and 400 for COCO, and 500, 10
and 400 for NUS-WIDE."""
_PATCH_TEMPERATURE = 500.0
_GLOBAL_SHARE = 0.1
_ROWS = 4096


class PiaaHead(MatchingHead):
    """A classifier of patches that is fitted to each label set. Published form only:
    a label's score depends on the others."""

    patches: Tensor

    def __init__(self, config: HeadConfig, embed_dim: int) -> None:
        super().__init__(config)
        self.register_buffer("patches", torch.zeros(config.patches, embed_dim))

    def label_features(self, label_embeddings: Tensor) -> LabelFeatures:
        """See `MatchingHead`. The classifier is the labels' evidence."""
        classifier = fit_patch_classifier(self.patches, label_embeddings)
        return LabelFeatures(label_embeddings, label_embeddings, evidence=classifier.cpu().numpy())

    def local_scores(self, image_features: ImageFeatures, label_features: LabelFeatures) -> Tensor:
        """The classifier's logits of each patch [B, P, C]."""
        tokens = functional.normalize(image_features.patch_tokens, dim=-1)
        return patch_logits(tokens, self._classifier(label_features))

    def score(self, image_features: ImageFeatures, label_features: LabelFeatures) -> Tensor:
        """See `MatchingHead`."""
        return aggregate(
            image_features.image_embeddings,
            image_features.patch_tokens,
            label_features.label_embeddings,
            self._classifier(label_features),
        )

    def _classifier(self, label_features: LabelFeatures) -> Tensor:
        return torch.as_tensor(label_features.evidence).to(label_features.label_embeddings)


def fit_patch_classifier(patches: Tensor, texts: Tensor) -> Tensor:
    """The classifier [C, D + 1] of C labels: weights, and a bias in the last column.

    Takes M unlabelled patches [M, D] and the labels' text features [C, D]. All labels are needed at once:
    each patch speaks for one of them.
    """
    patches, texts = functional.normalize(patches, dim=-1), functional.normalize(texts, dim=-1)
    judged = _judge(patches, lambda part: _TEXT_SCALE * part @ texts.mT)
    chosen = torch.cat([_surest(judged, label) for label in range(len(texts))])
    patches = patches[chosen]
    classifier = _discriminant(patches, judged.labels[chosen], judged.probabilities[chosen], texts)
    again = _judge(patches, lambda part: _SURE_SCALE * patch_logits(part, classifier))
    kept = torch.cat([_above_average(again, label) for label in range(len(texts))])
    if len(kept) < 2:
        return classifier
    return _discriminant(patches[kept], again.labels[kept], again.probabilities[kept], texts)


def patch_logits(patches: Tensor, classifier: Tensor) -> Tensor:
    """Logits [..., C] of patches [..., D] with unit norm."""
    return patches @ classifier[:, :-1].mT + classifier[:, -1]


def aggregate(images: Tensor, tokens: Tensor, texts: Tensor, classifier: Tensor) -> Tensor:
    """Scores [B, C]: a tenth is CLIP's own softmax over the labels, and the rest is each label's best patch.

    Takes image embeddings [B, D], patch tokens [B, P, D] and text features [C, D] in any norm.
    """
    cosines = functional.normalize(images, dim=-1) @ functional.normalize(texts, dim=-1).mT
    logits = patch_logits(functional.normalize(tokens, dim=-1), classifier)
    best = (logits / _PATCH_TEMPERATURE).softmax(dim=-1).amax(dim=1)
    whole = (_GLOBAL_SCALE * cosines).softmax(dim=-1)
    return _GLOBAL_SHARE * whole + (1 - _GLOBAL_SHARE) * (_PATCH_SCALE * best).softmax(dim=-1)


class _Judged(NamedTuple):
    """What a classifier says of N patches."""

    labels: Tensor
    """[N]: the most probable label."""
    probabilities: Tensor
    """[N]: of that label."""
    entropies: Tensor
    """[N]: of the probabilities of all labels."""


def _judge(patches: Tensor, logits: Callable[[Tensor], Tensor]) -> _Judged:
    """Patches [N, D] by a function to the logits [n, C] of a part of them."""
    parts = []
    for part in torch.split(patches, _ROWS):
        probabilities = logits(part).softmax(dim=1)
        own, labels = probabilities.max(dim=1)
        parts.append((labels, own, torch.special.entr(probabilities).sum(dim=1)))
    return _Judged(*(torch.cat(column) for column in zip(*parts, strict=True)))


def _surest(judged: _Judged, label: int) -> Tensor:
    """The rows of a label's patches with the lowest entropy."""
    rows = (judged.labels == label).nonzero()[:, 0]
    return rows[judged.entropies[rows].argsort(stable=True)[:PATCHES_PER_LABEL]]


def _above_average(judged: _Judged, label: int) -> Tensor:
    """The rows of a label's patches that are more probable than its patches on average, by a deviation or
    more; none if it has one patch."""
    rows = (judged.labels == label).nonzero()[:, 0]
    own = judged.probabilities[rows]
    return rows[own >= own.mean() + own.std()] if len(rows) > 1 else rows[:0]


def _discriminant(patches: Tensor, labels: Tensor, probabilities: Tensor, texts: Tensor) -> Tensor:
    """Gaussian discriminant analysis of patches [N, D] with their labels and those labels' probabilities [N]:
    one covariance, and equal shares. A label without patches has its text as its mean."""
    shares = texts.new_zeros(len(texts), 1).index_add_(0, labels, probabilities[:, None])
    sums = torch.zeros_like(texts).index_add_(0, labels, probabilities[:, None] * patches)
    means = torch.where(shares > 0, sums / shares.clamp(min=1e-12), texts)
    covariance = (patches - means[labels]).mT.cov()
    size = patches.shape[1]
    shrunk = (len(patches) - 1) * covariance + covariance.trace() * torch.eye(size).to(covariance)
    weight = means @ (size * torch.linalg.pinv(shrunk, hermitian=True))
    bias = -(weight * means).sum(dim=1) / 2
    return torch.cat([weight, bias[:, None]], dim=1)
