"""Heads: scores of photographs against labels, in the published form and in the context form.

The published form is the paper's: dot products, each kind of score L2-normalised over the label set. The
context form is ours: cosines with learned scales. Every step that runs over the label set in the published
form runs over the checkpoint's own context labels instead, so that a label's score does not depend on the
other labels in the request.
"""

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from sigrl.model import evidence
from sigrl.model.biam import BiLevelAttention
from sigrl.model.config import HeadConfig
from sigrl.model.features import ImageFeatures, LabelFeatures
from sigrl.model.gmc import LabelGraph
from sigrl.model.svfr import SemanticFeatureReconstruction


def top_k_mean(scores: Tensor, k: int) -> Tensor:
    """Mean of the `k` largest scores over the patches: [B, P, C] -> [B, C]."""
    return scores.topk(k, dim=1).values.mean(dim=1)


class MatchingHead(nn.Module):
    """What all heads share: global matching, local matching of the best patches, and their combination."""

    matches_patches = True

    def __init__(self, config: HeadConfig) -> None:
        super().__init__()
        self.config = config
        self.top_k_mean: Callable[[Tensor, int], Tensor] = top_k_mean
        if config.form == "context":
            self.log_global_scale = nn.Parameter(torch.tensor(math.log(10.0)))
            self.bias = nn.Parameter(torch.tensor(-5.0))
            if self.matches_patches:
                self.log_local_scale = nn.Parameter(torch.tensor(math.log(10.0)))

    def label_features(self, label_embeddings: Tensor) -> LabelFeatures:
        """Text features [C, D] -> the label features for scoring, computed once per vocabulary. Without a
        graph, labels stay as they are; the context form gives them unit norm."""
        if self.config.form == "published":
            return LabelFeatures(label_embeddings, refined=label_embeddings)
        return LabelFeatures(label_embeddings, refined=functional.normalize(label_embeddings, dim=-1))

    def reconstruct(self, image_features: ImageFeatures, label_features: LabelFeatures) -> Tensor:  # noqa: ARG002
        """The patch tokens [B, P, D] for the local scores: the tower's own, unless a head rebuilds them."""
        return image_features.patch_tokens

    def rebuilder(self) -> Callable[[ImageFeatures], Tensor] | None:
        """A function that computes the tokens of `reconstruct` from image features alone, so that they can be
        kept for all label sets. None if the head does not rebuild tokens, or needs the labels for it."""
        return None

    def local_scores(self, image_features: ImageFeatures, label_features: LabelFeatures) -> Tensor:
        """How well each patch matches each label [B, P, C]: the tokens of `reconstruct` by dot products with
        raw labels in the published form, by cosines with refined labels in the context form. The highest
        values raise the score; the `clip` head does not use them."""
        tokens = self.reconstruct(image_features, label_features)
        return self._match(tokens, label_features)

    def global_scores(self, image_features: ImageFeatures, label_features: LabelFeatures) -> Tensor:
        """How well the image embedding matches each label [B, C], by the same measure as `local_scores`."""
        return self._match(image_features.image_embeddings, label_features)

    def pool_patches(self, local_scores: Tensor) -> Tensor:
        """Mean of each label's `top_k` best patches: [B, P, C] -> [B, C]. A `top_k` above P means all."""
        return self.top_k_mean(local_scores, min(self.config.top_k, local_scores.shape[1]))

    def score(self, image_features: ImageFeatures, label_features: LabelFeatures) -> Tensor:
        """Scores [B, C]; in the context form, logits."""
        scores = {"global": self.global_scores(image_features, label_features)}
        if self.matches_patches:
            scores["local"] = self.pool_patches(self.local_scores(image_features, label_features))
        return self._combine(scores)

    def _match(self, features: Tensor, label_features: LabelFeatures) -> Tensor:
        # A label's patches are contiguous in memory, because the next step compares them.
        if self.config.form == "published":
            return (label_features.label_embeddings @ features.mT).mT
        return (label_features.refined @ functional.normalize(features, dim=-1).mT).mT

    def _combine(self, scores: dict[str, Tensor]) -> Tensor:
        if self.config.form == "context":
            logits = self.log_global_scale.exp() * scores["global"] + self.bias
            return logits + self.log_local_scale.exp() * scores["local"] if "local" in scores else logits
        parts = list(scores.values())
        if self.config.normalize_scores:
            parts = [functional.normalize(part, dim=-1) for part in parts]
        return torch.stack(parts).mean(dim=0)


class ClipHead(MatchingHead):
    """Global matching only: CLIP's zero-shot scores."""

    matches_patches = False


class SparcHead(ClipHead):
    """Global matching in deviations from the mean of the context labels on the photograph. It is the
    normalisation of SPARC (Miller et al. 2025), there over all labels of the request."""

    context_label_embeddings: Tensor

    def __init__(self, config: HeadConfig, embed_dim: int) -> None:
        super().__init__(config)
        self.register_buffer("context_label_embeddings", torch.zeros(len(config.context_labels), embed_dim))

    def global_scores(self, image_features: ImageFeatures, label_features: LabelFeatures) -> Tensor:
        """See `MatchingHead`."""
        context = functional.normalize(self.context_label_embeddings, dim=-1)
        reference = functional.normalize(image_features.image_embeddings, dim=-1) @ context.mT
        deviations = super().global_scores(image_features, label_features) - reference.mean(1, keepdim=True)
        return deviations / reference.std(1, keepdim=True)


class MktHead(MatchingHead):
    """Global matching, and local matching of the tower's own patch tokens (MKT, He et al. 2023)."""


class BiamHead(MatchingHead):
    """Local matching of patch tokens enriched by bi-level attention (BiAM, Narayan et al. 2021).

    The published form is BiAM's: the score of a label is the mean of its best regions' dot products. The
    context form is ours: the mkt head on the enriched tokens. At initialisation it equals the mkt head.
    Neither form looks at other labels, so neither needs context labels.
    """

    def __init__(self, config: HeadConfig, embed_dim: int) -> None:
        super().__init__(config)
        self.attention = BiLevelAttention(embed_dim)

    def reconstruct(self, image_features: ImageFeatures, label_features: LabelFeatures) -> Tensor:  # noqa: ARG002
        """The enriched patch tokens [B, P, D]. They depend on the photograph alone."""
        if image_features.rebuilt_tokens is not None:
            return image_features.rebuilt_tokens
        return self._enrich(image_features)

    def rebuilder(self) -> Callable[[ImageFeatures], Tensor]:
        """See `MatchingHead`. Both forms have one."""
        return self._enrich

    def score(self, image_features: ImageFeatures, label_features: LabelFeatures) -> Tensor:
        """See `MatchingHead`."""
        if self.config.form == "context":
            return super().score(image_features, label_features)
        return self.pool_patches(self.local_scores(image_features, label_features))

    def _enrich(self, image_features: ImageFeatures) -> Tensor:
        tokens, images = image_features.patch_tokens, image_features.image_embeddings
        if self.config.form == "context":
            tokens, images = unit_rms(tokens), unit_rms(images)
        enriched: Tensor = self.attention(tokens, images, image_features.grid)
        return enriched


class SigRLHead(MatchingHead):
    """Global matching, and local matching of patch tokens rebuilt by SVFR under labels refined by GMC."""

    context_label_embeddings: Tensor

    def __init__(self, config: HeadConfig, embed_dim: int, dropout: float = 0.3) -> None:
        """Raises ValueError for the context form without context labels."""
        super().__init__(config)
        in_context = config.form == "context"
        if in_context and not config.context_labels:
            raise ValueError("the sigrl head in its context form needs `context_labels` in its configuration")
        self.svfr = SemanticFeatureReconstruction(embed_dim) if config.svfr else None
        self.svfr_labels: int | None = None
        """The largest number of labels, evenly spaced, over which SVFR runs in the published form. Its sum
        over all labels is then estimated; every label is still matched with the result. None means all
        labels, which is exact."""
        # In the published form the graph acts through SVFR alone.
        self.graph = (
            LabelGraph(embed_dim, dropout=dropout) if config.gmc and (in_context or config.svfr) else None
        )
        if in_context:
            self.register_buffer(
                "context_label_embeddings", torch.zeros(len(config.context_labels), embed_dim)
            )
            if self.graph is not None:
                self.gamma = nn.Parameter(torch.tensor(0.1))

    def set_context(self, label_embeddings: Tensor) -> None:
        """Sets the raw text features [K, D] of the configuration's context labels, in their order.

        Raises ValueError if the shape is different, or if the head is in its published form.
        """
        if self.config.form != "context":
            raise ValueError("the published form of the head has no context")
        expected = tuple(self.context_label_embeddings.shape)
        if tuple(label_embeddings.shape) != expected:
            raise ValueError(
                f"context label embeddings have shape {tuple(label_embeddings.shape)}, expected {expected}: "
                "one row for each of the configuration's `context_labels`"
            )
        with torch.no_grad():
            self.context_label_embeddings.copy_(label_embeddings)

    def label_features(self, label_embeddings: Tensor) -> LabelFeatures:
        """See `MatchingHead`. In the context form, a row depends only on its label and the context."""
        if self.config.form == "published":
            refined = label_embeddings if self.graph is None else self.graph(label_embeddings)
            return LabelFeatures(label_embeddings, refined=refined)
        context = unit_rms(self.context_label_embeddings)
        return LabelFeatures(
            label_embeddings,
            refined=functional.normalize(self._refine(unit_rms(label_embeddings), context), dim=-1),
            refined_context=self._refine(context, context) if self.svfr is not None else None,
        )

    def _refine(self, labels: Tensor, context: Tensor) -> Tensor:
        return labels if self.graph is None else labels + self.gamma * self.graph(labels, context)

    def reconstruct(self, image_features: ImageFeatures, label_features: LabelFeatures) -> Tensor:
        """Patch tokens [B, P, D] rebuilt by SVFR; in the context form they depend on the photograph alone."""
        if image_features.rebuilt_tokens is not None:
            return image_features.rebuilt_tokens
        tokens = image_features.patch_tokens
        if self.svfr is None:
            return tokens
        if self.config.form == "published":
            labels, refined = label_features.label_embeddings, label_features.refined
            count = len(labels)
            if self.svfr_labels is not None and self.svfr_labels < count:
                spaced = np.linspace(0, count - 1, self.svfr_labels).astype(np.int64)
                rows = torch.from_numpy(spaced).to(labels.device)
                labels, refined = labels[rows], refined[rows]
            rebuilt: Tensor = self.svfr(tokens, labels, refined, "sum") * (count / len(labels))
        else:
            context = unit_rms(self.context_label_embeddings)
            refined_context = label_features.refined_context
            if refined_context is None:
                refined_context = self._refine(context, context)
            rebuilt = self.svfr(unit_rms(tokens), context, refined_context, "mean")
        return rebuilt

    def rebuilder(self) -> Callable[[ImageFeatures], Tensor] | None:
        """See `MatchingHead`. Only the context form has one; its label graph runs once, in this call."""
        if self.svfr is None or self.config.form == "published":
            return None
        context = self.label_features(self.context_label_embeddings)
        return lambda image_features: self.reconstruct(image_features, context)


class EvidenceHead(MatchingHead):
    """Holds the arrays that `sigrl.model.evidence` uses. As a module it is the mkt head, which is the part
    that training runs."""

    def __init__(self, config: HeadConfig, embed_dim: int) -> None:
        super().__init__(config)
        assert config.evidence is not None
        for name, shape in evidence.shapes(config.evidence, embed_dim).items():
            self.register_buffer(name, torch.zeros(shape))


def unit_rms(features: Tensor) -> Tensor:
    """Scales [..., D] to a root mean square of one, because towers differ in the norms of their features."""
    return functional.normalize(features, dim=-1) * math.sqrt(features.shape[-1])


def create_head(config: HeadConfig, embed_dim: int, dropout: float = 0.3) -> MatchingHead:
    """The head of a configuration, newly initialised; `embed_dim` is D, `dropout` that of the label graph."""
    if config.kind == "clip":
        return ClipHead(config)
    if config.kind == "sparc":
        return SparcHead(config, embed_dim)
    if config.kind == "mkt":
        return MktHead(config)
    if config.kind == "evidence":
        return EvidenceHead(config, embed_dim)
    if config.kind == "biam":
        return BiamHead(config, embed_dim)
    return SigRLHead(config, embed_dim, dropout)
