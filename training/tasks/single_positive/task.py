"""The single-positive task: trains a classifier with any loss from one observed label per photograph."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim import Adam
from torch.utils.data import Dataset

from sigrl.training.loop.schedules import ConstantRate
from sigrl.training.loop.task import StepOutput
from sigrl.training.losses.options import SinglePositiveOptions
from sigrl.training.losses.single_positive import single_positive_loss
from sigrl.training.tasks.single_positive.labels import LabelEstimator, TrainingLabels
from sigrl.training.tasks.single_positive.towers import Classifier


class SinglePositiveModel(nn.Module):
    """The trained module: the classifier, and ROLE's label estimator beside it."""

    def __init__(self, classifier: nn.Module, estimator: LabelEstimator | None = None) -> None:
        """`classifier` is a `Classifier`."""
        super().__init__()
        self.classifier, self.estimator = classifier, estimator

    def forward(self, pixel_values: Tensor, rows: Tensor) -> tuple[Tensor, Tensor | None]:
        """Logits [B, C] of the classifier, and of the estimator for the photographs `rows` [B]."""
        estimated = None if self.estimator is None else self.estimator(rows)
        return self.classifier(pixel_values), estimated


@dataclass
class SinglePositiveTask:
    """See `training.loop.task.Task` and `EpochTask`. Batches are pixel values [B, 3, S, S] and rows [B]."""

    module: SinglePositiveModel
    labels: TrainingLabels
    loss: SinglePositiveOptions
    schedule: ConstantRate
    head_learning_rate: float
    estimator_learning_rate: float
    train_data: Dataset[Any]
    evaluation: Callable[[nn.Module, Accelerator], dict[str, float]]
    """Measures the classifier on the validation photographs."""
    score_training: Callable[[nn.Module, Accelerator], Tensor]
    """Logits [N, C] of the classifier on all training photographs, unmirrored."""
    measure: str = "val/mAP"
    epoch: int = 0

    def optimizer(self) -> Adam:
        """Adam as published, with separate rates for tower, head and estimator."""
        model, rate = self.module, self.schedule.rate
        classifier: Classifier = model.classifier  # type: ignore[assignment]
        new = list(classifier.new_parameters())
        identities = {id(one) for one in new}
        trained = [one for one in model.classifier.parameters() if one.requires_grad]
        groups = [
            {"params": [one for one in trained if id(one) not in identities], "lr_scale": 1.0},
            {"params": new, "lr_scale": self.head_learning_rate / rate},
        ]
        if model.estimator is not None:
            estimator = list(model.estimator.parameters())
            groups.append({"params": estimator, "lr_scale": self.estimator_learning_rate / rate})
        self.labels.to(trained[0].device)
        return Adam([group for group in groups if group["params"]], lr=rate)

    def training_step(self, module: nn.Module, batch: tuple[Tensor, Tensor]) -> StepOutput:
        """The loss, and its regulariser as a part to log."""
        pixel_values, rows = batch
        logits, estimated = module(pixel_values, rows)
        parts = single_positive_loss(self.loss, logits, self.labels.targets(rows, self.epoch, estimated))
        return StepOutput(parts.total, {"regularizer": parts.regularizer})

    def evaluate(self, accelerator: Accelerator) -> dict[str, float]:
        """See `evaluation`."""
        return self.evaluation(self.module.classifier, accelerator)

    def open_epoch(self, epoch: int) -> None:
        """Stores the epoch for losses with a warm-up."""
        self.epoch = epoch

    def close_epoch(self, epoch: int, accelerator: Accelerator) -> None:
        """Makes AckTheUnknown's pseudo-labels from the classifier's current logits."""
        if self.labels.guesses_after(epoch):
            self.labels.guess(self.score_training(self.module.classifier, accelerator))

    def state(self) -> Mapping[str, Tensor]:
        """The soft pseudo-labels."""
        return self.labels.state()

    def load_state(self, tensors: Mapping[str, Tensor]) -> None:
        """See `state`."""
        self.labels.load_state(tensors)


@torch.no_grad()
def start_scale(classifier: nn.Module, photographs: Sequence[np.ndarray]) -> None:
    """Initialises a learned scale, if there is one, from the head's scores of some photographs [3, S, S]."""
    scale = getattr(classifier, "scale", None)
    if scale is not None:
        classifier.eval()
        scores = [classifier.scores(torch.from_numpy(one)[None]) for one in photographs]
        scale.start_at(torch.cat(scores))
