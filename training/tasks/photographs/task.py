"""`task: photographs` as a task of the training loop."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim import AdamW
from torch.utils.data import Dataset

from sigrl.training.loop.task import Schedule, StepOutput
from sigrl.training.losses.single_positive import Targets, single_positive_loss
from sigrl.training.tasks.photographs.config import PhotographLoss
from sigrl.training.tasks.photographs.inputs import Item
from sigrl.training.tasks.photographs.model import PhotographTagger

REMEMBERED = 256
"""Number of names drawn for each step."""
WEIGHT_DECAY = 0.01


@dataclass
class PhotographsTask:
    """See `training.loop.task.Task`."""

    module: PhotographTagger
    schedule: Schedule
    train_data: Dataset[Item]
    loss: PhotographLoss
    positive_weights: Tensor
    """[C]."""
    start_scores: Tensor
    """[N, V]: the start's scores of the names to remember."""
    remember: float
    """Weight of keeping these scores."""
    tower_scale: float
    """Learning rate of a tuned image tower relative to that of the rest."""
    evaluation: Callable[[Accelerator], dict[str, float]]
    measure: str = "validation/mAP"

    def optimizer(self) -> AdamW:
        """AdamW; the scales have no weight decay."""
        groups: list[dict[str, Any]] = [
            {"params": self.module.projection(), "weight_decay": WEIGHT_DECAY},
            {"params": self.module.scales(), "weight_decay": 0.0},
            {"params": self.module.tuned(), "weight_decay": WEIGHT_DECAY, "lr_scale": self.tower_scale},
        ]
        return AdamW([group for group in groups if group["params"]])

    def training_step(self, module: nn.Module, batch: tuple[Tensor, Tensor, Tensor]) -> StepOutput:
        """The labels' loss, summed over labels, and the squared distance from the start's logits of names."""
        inputs, observed, rows = batch
        labels, names = observed.shape[1], self.start_scores.shape[1]
        drawn = torch.randint(names, (min(REMEMBERED, names),)) if names else torch.empty(0, dtype=torch.long)
        columns = torch.cat([torch.arange(labels), labels + drawn]).to(inputs.device)
        logits = module(inputs, columns).float()
        parts = single_positive_loss(self.loss, logits[:, :labels], Targets(observed))
        weights = self.positive_weights.to(inputs.device)
        elements = torch.where(observed == 1, weights, 1.0) * parts.elements
        known = elements.sum(dim=1).mean() + labels * parts.regularizer
        if not names:
            return StepOutput(known, {"labels": known})
        before = self.start_scores[rows.cpu()][:, drawn].to(logits)
        forgetting = (logits[:, labels:] - before).square().mean()
        return StepOutput(known + self.remember * forgetting, {"labels": known, "forgetting": forgetting})

    def evaluate(self, accelerator: Accelerator) -> dict[str, float]:
        """See `evaluation`."""
        return self.evaluation(accelerator)
