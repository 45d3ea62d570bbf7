"""What all heads share: scores of photographs against labels, in the published form and in the context form.

The published form is the paper's: dot products, each kind of score L2-normalised over the label set. The
context form is ours: cosines with learned scales. Every step that runs over the label set in the published
form runs over the checkpoint's own context labels instead, so that a label's score does not depend on the
other labels in the request.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from sigrl.model.config import HeadConfig
from sigrl.model.features import ImageFeatures, LabelFeatures


def unit_rms(features: Tensor) -> Tensor:
    """Scales [..., D] to a root mean square of one, because towers differ in the norms of their features."""
    return functional.normalize(features, dim=-1) * math.sqrt(features.shape[-1])


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
