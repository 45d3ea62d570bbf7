"""The trained parts for your own photographs: the image tower's projection and the head's scales, or the
whole image tower. Texts, graph and SVFR stay frozen, because so few photographs would only spoil them."""

from collections.abc import Sequence
from math import ceil, isqrt

import torch
from torch import Tensor, nn

from sigrl.model.backbone import Backbone
from sigrl.model.bundle import Bundle
from sigrl.model.features import LabelFeatures
from sigrl.model.matching import MatchingHead, top_k_mean
from sigrl.model.vocabulary import Label
from sigrl.training.backbones.projection import project, projection_parameters
from sigrl.training.backbones.towers import keep_statistics
from sigrl.training.data.dataset import DataError
from sigrl.training.tasks.bundled.fit import sampled_context
from sigrl.training.tasks.photographs.inputs import TowerFeatures
from sigrl.training.terminal import progress_bar

SAMPLED_CONTEXT = 8
"""Number of context labels that SVFR uses in a training step, for speed."""
_BATCH_SIZE = 32


class PhotographTagger(nn.Module):
    """A checkpoint with its labels and the names that it should remember, ready to be trained."""

    refined: Tensor
    refined_context: Tensor | None

    def __init__(self, start: Bundle, labels: LabelFeatures, tower: str) -> None:
        """`labels` are [C + V, D]: labels, then names. The model of `start` is used and changed in place.

        Raises DataError for a head in the published form, whose scores are not logits.
        """
        super().__init__()
        if start.manifest.head.form != "context":
            raise DataError(
                f"the head of {start.manifest.name} is in the published form, whose scores depend on the "
                "label set: start from one in the context form, as `sigrl-train import --open-clip` makes"
            )
        self.backbone: Backbone = start.model.backbone
        self.head: MatchingHead = start.model.head
        self.tower = tower
        self.register_buffer("refined", labels.refined, persistent=False)
        self.register_buffer("refined_context", labels.refined_context, persistent=False)
        self.requires_grad_(False)
        for parameter in (*self.projection(), *self.scales(), *self.tuned()):
            parameter.requires_grad_(True)

    def forward(self, inputs: Tensor, columns: Tensor) -> Tensor:
        """Logits [B, n] of the labels and names `columns` [n]; `inputs` are pixel values [B, 3, S, S] or the
        tower's features before its projection [B, 1 + P, F]."""
        if inputs.ndim == 4:
            features = self.backbone.encode_images(inputs)
        else:
            side = max(1, isqrt(inputs.shape[1] - 1))
            features = project(self.backbone, inputs.float(), (side, (inputs.shape[1] - 1) // side))
        # In the context form, scores depend only on refined labels.
        refined = self.refined[columns]
        if not self.training:
            return self.head.score(features, LabelFeatures(refined, refined, self.refined_context))
        with sampled_context(self.head, SAMPLED_CONTEXT):
            return self.head.score(features, LabelFeatures(refined, refined))

    def train(self, mode: bool = True) -> "PhotographTagger":
        """Sets the mode, except that batch norms keep their statistics: a batch here is too small for its
        own."""
        super().train(mode)
        keep_statistics(self.backbone)
        return self

    def match_pooled(self, patches: int) -> None:
        """From here on the local score takes the same share of a photograph's tokens, whether these are its
        `patches` or the means of squares of them."""
        top_k = min(self.head.config.top_k, patches)
        self.head.top_k_mean = lambda scores, _: top_k_mean(scores, ceil(top_k * scores.shape[1] / patches))

    def projection(self) -> list[nn.Parameter]:
        """The parameters of the projection; empty if the tower has none."""
        return projection_parameters(self.backbone)

    def scales(self) -> list[nn.Parameter]:
        """The head's scales and bias, which turn cosines into logits."""
        return [
            one for name, one in self.head.named_parameters() if name.startswith("log_") or name == "bias"
        ]

    def tuned(self) -> list[nn.Parameter]:
        """The other trained parameters of the image tower."""
        if self.tower == "frozen":
            return []
        projection = {id(one) for one in self.projection()}
        return [one for one in self.backbone.visual.parameters() if id(one) not in projection]


def encode_labels(start: Bundle, labels: Sequence[Label]) -> LabelFeatures:
    """The label side of a checkpoint, which does not change in training, with a progress bar."""
    with torch.inference_mode(), progress_bar() as progress:
        bar = progress.add_task("labels and names", total=len(labels), note="")
        embeddings = start.model.backbone.encode_labels(
            labels, lambda done: progress.update(bar, completed=done)
        )
        features = start.model.head.label_features(embeddings)
    # Tensors created in inference mode cannot take part in training.
    context = features.refined_context
    return LabelFeatures(
        features.label_embeddings.clone(),
        features.refined.clone(),
        None if context is None else context.clone(),
    )


@torch.no_grad()
def score_features(
    module: PhotographTagger, features: TowerFeatures, columns: Tensor, description: str
) -> Tensor:
    """Logits [N, n] (on the CPU) of the first views of cached features, with a progress bar."""
    parts = []
    device = module.refined.device
    with progress_bar() as progress:
        bar = progress.add_task(description, total=len(features), note="")
        for first in range(0, len(features), _BATCH_SIZE):
            batch = features.read(slice(first, first + _BATCH_SIZE), 0)
            parts.append(module(batch.to(device), columns.to(device)).float().cpu())
            progress.update(bar, advance=len(batch))
    return torch.cat(parts)
