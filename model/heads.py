"""The kinds of heads; what they share is in `sigrl.model.matching`."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from sigrl.model.biam import BiLevelAttention
from sigrl.model.config import HeadConfig
from sigrl.model.evidence_arrays import shapes
from sigrl.model.features import ImageFeatures, LabelFeatures
from sigrl.model.gmc import LabelGraph
from sigrl.model.matching import MatchingHead, unit_rms
from sigrl.model.piaa import PiaaHead
from sigrl.model.svfr import SemanticFeatureReconstruction
from sigrl.model.tagclip import TagclipHead


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
        for name, shape in shapes(config.evidence, embed_dim).items():
            self.register_buffer(name, torch.zeros(shape))


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
    if config.kind == "piaa":
        return PiaaHead(config, embed_dim)
    if config.kind == "tagclip":
        return TagclipHead(config, embed_dim)
    if config.kind == "biam":
        return BiamHead(config, embed_dim)
    return SigRLHead(config, embed_dim, dropout)
