"""A task of a few numbers, for runs that are started, killed and resumed; also a program for torchrun."""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.utils.data import Dataset

from sigrl.training.data.batches import Draw, seeded
from sigrl.training.loop.loop import Progress, train
from sigrl.training.loop.schedules import WarmUpCosine
from sigrl.training.loop.task import LoopConfig, StepOutput

PHOTOGRAPHS = 26


class Numbers(Dataset[tuple[Tensor, Tensor]]):
    """Random inputs with random augmentation, and targets from a fixed matrix."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(1)
        self.inputs = torch.randn(PHOTOGRAPHS, 6, generator=generator)
        self.targets = self.inputs @ torch.randn(6, 3, generator=generator)

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, draw: Draw) -> tuple[Tensor, Tensor]:
        with seeded(draw.seed):
            return self.inputs[draw.photograph] + 0.01 * torch.randn(6), self.targets[draw.photograph]


class SharedNoise(nn.Module):
    """Dropout of whole features, the same for all photographs, like that of the label graph."""

    def forward(self, hidden: Tensor) -> Tensor:
        return hidden * nn.functional.dropout(torch.ones(hidden.shape[1]), 0.3, self.training)


class TinyTask:
    """See `training.loop.task.Task`. `on_step` and `on_evaluate` are called first, with the number of earlier
    calls; `scores` replace the measurements of `evaluate`."""

    measure = "score"

    def __init__(self, epochs: int) -> None:
        torch.manual_seed(0)
        self.module = nn.Sequential(nn.Linear(6, 8), SharedNoise(), nn.Linear(8, 3))
        self.schedule = WarmUpCosine(rate=0.05, warm_up_epochs=1, epochs=max(epochs, 2))
        self.train_data = Numbers()
        self.on_step: Callable[[int], None] = lambda _: None
        self.on_evaluate: Callable[[int], None] = lambda _: None
        self.scores: list[float] | None = None
        self.steps = self.evaluations = 0

    def optimizer(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.module.parameters())

    def training_step(self, module: nn.Module, batch: tuple[Tensor, Tensor]) -> StepOutput:
        self.on_step(self.steps)
        self.steps += 1
        inputs, targets = batch
        error = (module(inputs) - targets).square().mean()
        return StepOutput(error, {"error": error})

    def evaluate(self, accelerator: Accelerator) -> dict[str, float]:  # noqa: ARG002
        self.on_evaluate(self.evaluations)
        self.evaluations += 1
        if self.scores is not None:
            return {"score": self.scores[self.evaluations - 1]}
        data = self.train_data
        return {"score": -(self.module(data.inputs) - data.targets).square().mean().item()}


def kill() -> None:
    """Kills the process like a power cut."""
    os.kill(os.getpid(), signal.SIGKILL)


def run(directory: Path, task: TinyTask | None = None, **changes: Any) -> Progress:
    settings = {"epochs": 3, "batch_size": 8, "averaging": 0.9, "save_every": 2, "log_every": 1, "workers": 0}
    config = LoopConfig(**{**settings, **changes})
    return train(task or TinyTask(config.epochs), config, directory, {"data": "numbers"})


if __name__ == "__main__":
    torch.set_num_threads(1)
    run(Path(sys.argv[1]))
