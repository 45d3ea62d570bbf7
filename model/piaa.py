"""The patch classifier of PIAA (Wang et al.: [CLS] is Not Enough, ICML 2026, arXiv 2605.25821).

PIAA finds out what each label looks like on patches of unlabelled photographs, which needs no training: the
surest patches of each label become a Gaussian, and Gaussians with one covariance give a linear classifier of
patches. Its scores stand in for the text's, whose features lie apart from those of images. The formulas and
constants are those of the published code (github.com/akang-wang/PIAA, learn.py and test.py).

The paper also changes the image tower's last blocks (SC-CLIP); here patches are as the tower gives them.
"""

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
    chosen, probabilities = _surest(patches, texts)
    classifier = _discriminant(patches[chosen], probabilities, texts)
    logits = patch_logits(patches[chosen], classifier)
    kept = _above_their_label((logits * _SURE_SCALE).softmax(dim=1), logits.argmax(dim=1))
    if kept.sum() < 2:
        return classifier
    again = (logits[kept] * _SURE_SCALE).softmax(dim=1)
    return _discriminant(patches[chosen][kept], again, texts)


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


def _surest(patches: Tensor, texts: Tensor) -> tuple[Tensor, Tensor]:
    """The rows [N] of the patches with the lowest entropy among those nearest to each label, and the labels'
    probabilities [N, C] on them."""
    entropies, labels = [], []
    for part in patches.split(_ROWS):
        probabilities = (_TEXT_SCALE * part @ texts.mT).softmax(dim=1)
        entropies.append(torch.special.entr(probabilities).sum(dim=1))
        labels.append(probabilities.argmax(dim=1))
    entropy, label = torch.cat(entropies), torch.cat(labels)
    chosen = []
    for one in label.unique():
        rows = (label == one).nonzero()[:, 0]
        chosen.append(rows[entropy[rows].argsort(stable=True)[:PATCHES_PER_LABEL]])
    rows = torch.cat(chosen)
    return rows, (_TEXT_SCALE * patches[rows] @ texts.mT).softmax(dim=1)


def _above_their_label(probabilities: Tensor, labels: Tensor) -> Tensor:
    """Which patches [N] are surer of their label than its patches are on average, by a deviation or more."""
    own = probabilities.gather(1, labels[:, None])[:, 0]
    kept = torch.zeros_like(own, dtype=torch.bool)
    for one in labels.unique():
        rows = labels == one
        if rows.sum() > 1:
            kept[rows] = own[rows] >= own[rows].mean() + own[rows].std()
    return kept


def _discriminant(patches: Tensor, probabilities: Tensor, texts: Tensor) -> Tensor:
    """Gaussian discriminant analysis with one covariance and equal shares. A label's mean is weighted by its
    probability [N, C]; a label without patches has its text as its mean."""
    labels = probabilities.argmax(dim=1)
    weights = torch.zeros_like(probabilities)
    weights.scatter_(1, labels[:, None], probabilities.gather(1, labels[:, None]))
    shares = weights.sum(dim=0)[:, None]
    means = torch.where(shares > 0, weights.mT @ patches / shares.clamp(min=1e-12), texts)
    covariance = (patches - means[labels]).mT.cov()
    size = patches.shape[1]
    shrunk = (len(patches) - 1) * covariance + covariance.trace() * torch.eye(size, device=patches.device)
    precision = size * torch.linalg.pinv(shrunk, hermitian=True)
    weight = means @ precision
    bias = -(weight * means).sum(dim=1) / 2
    return torch.cat([weight, bias[:, None]], dim=1)
