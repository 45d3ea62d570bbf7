"""The open-vocabulary task: rank the seen labels of a photograph, and stay close to a frozen teacher.

This is the published loop of SigRL and MKT: image tower and head learn with the ranking loss over the seen
labels' embeddings, which the frozen text tower computes. The second loss is the distance of the image
embedding from that of the initial tower.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim import AdamW
from torch.utils.data import Dataset

from sigrl.model.backbone import Backbone
from sigrl.model.matching import MatchingHead
from sigrl.training.backbones.towers import keep_statistics
from sigrl.training.loop.schedules import layer_decay_groups
from sigrl.training.loop.task import Schedule, StepOutput
from sigrl.training.losses.open_vocabulary import distillation_loss, ranking_loss
from sigrl.training.tasks.nuswide.teacher import Teacher, count_blocks


class OpenVocabularyModel(nn.Module):
    """Image tower and head, with the trained labels."""

    label_embeddings: Tensor

    def __init__(self, backbone: Backbone, head: MatchingHead, label_embeddings: Tensor) -> None:
        """`label_embeddings` [C, D] are raw embeddings from the text tower."""
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.register_buffer("label_embeddings", label_embeddings, persistent=False)

    def forward(self, pixel_values: Tensor) -> tuple[Tensor, Tensor]:
        """Pixel values [B, 3, S, S] -> scores [B, C] and image embeddings [B, D]."""
        features = self.backbone.encode_images(pixel_values)
        scores = self.head.score(features, self.head.label_features(self.label_embeddings))
        return scores, features.image_embeddings

    def train(self, mode: bool = True) -> "OpenVocabularyModel":
        """Sets the mode, except that batch norms keep their statistics, which the teacher uses too."""
        super().train(mode)
        keep_statistics(self.backbone)
        return self


@dataclass
class OpenVocabularyTask:
    """See `training.loop.task.Task`. Batches are pixel values [B, 3, S, S] and labels [B, C] in {-1, 0, 1} of
    photographs with at least one positive."""

    module: OpenVocabularyModel
    teacher: Backbone
    """From `frozen_teacher`; changed in place, see `Teacher`."""
    schedule: Schedule
    train_data: Dataset[Any]
    frozen_layers: int = 10
    """See `layer_decay_groups`."""
    layer_decay: float = 0.65
    weight_decay: float = 0.05
    evaluation: Callable[[OpenVocabularyModel, Accelerator], dict[str, float]] = field(
        default=lambda module, accelerator: {}  # noqa: ARG005
    )
    measure: str = "seen/mAP"

    def __post_init__(self) -> None:
        self._teacher = Teacher(self.module.backbone, self.teacher, self.frozen_layers)

    def optimizer(self) -> AdamW:
        """AdamW over the trained layers; their rates are the schedule's times their layers' scale."""
        self._teacher.to(self.module.label_embeddings.device)
        self.module.backbone.text.requires_grad_(False)
        blocks = count_blocks(self.module.backbone)
        groups = layer_decay_groups(
            self.module.named_parameters(), blocks, self.frozen_layers, self.layer_decay, self.weight_decay
        )
        return AdamW(groups)

    def training_step(self, module: nn.Module, batch: tuple[Tensor, Tensor]) -> StepOutput:
        """Ranking loss plus distillation loss with equal weights, as published."""
        pixel_values, labels = batch
        scores, image_embeddings = module(pixel_values)
        taught = self._teacher.teach(pixel_values).to(image_embeddings.dtype)
        ranking, distillation = ranking_loss(scores, labels), distillation_loss(image_embeddings, taught)
        return StepOutput(ranking + distillation, {"ranking": ranking, "distillation": distillation})

    def evaluate(self, accelerator: Accelerator) -> dict[str, float]:
        """See `evaluation`."""
        return self.evaluation(self.module, accelerator)
