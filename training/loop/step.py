"""A training step: forward, backward and update, in one or many processes, in one or several passes."""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import send_to_device, set_seed
from torch import Tensor

from sigrl.training.data.batches import derive_seed
from sigrl.training.data.dataset import DataError
from sigrl.training.loop.acceleration import fit_to_device
from sigrl.training.loop.averaging import AveragedWeights
from sigrl.training.loop.state import (
    load_optimizer_tensors,
    load_trained_tensors,
    optimizer_tensors,
    trained_tensors,
)
from sigrl.training.loop.task import EpochTask, LoopConfig, Task


class Optimization:
    """A task with its optimizer, ready to make steps."""

    def __init__(self, task: Task, accelerator: Accelerator, config: LoopConfig) -> None:
        self._task, self._accelerator, self._config = task, accelerator, config
        task.module.to(accelerator.device)
        fit_to_device(task.module, accelerator, config)
        # Before the module is wrapped: this freezes parameters, and a wrapper looks at which have a gradient.
        self.optimizer = task.optimizer()
        self._module = accelerator.prepare_model(task.module)
        decay = config.averaging
        self.averages = None if decay is None else AveragedWeights(task.module, decay)

    def step(self, batches: Sequence[Any], number: int, position: float) -> dict[str, Tensor]:
        """Makes one step over `batches`, all of the same size; it is the `number`-th of the run, counted from
        1.

        Returns numbers to log: means over the batches of this process. Raises DataError when the loss is not
        finite.
        """
        accelerator, task = self._accelerator, self._task
        task.module.train()
        rate = task.schedule.apply(self.optimizer, position)
        self.optimizer.zero_grad()
        seed = derive_seed(self._config.seed, number)
        logged: dict[str, Tensor] = {}
        for index, batch in enumerate(batches):
            # The same seed in every pass and process, so that they agree on random draws of labels.
            set_seed(seed)
            last = index == len(batches) - 1
            with nullcontext() if last else accelerator.no_sync(self._module):
                with accelerator.autocast():
                    output = task.training_step(self._module, send_to_device(batch, accelerator.device))
                accelerator.backward(output.loss / len(batches))
            for name, value in {"loss": output.loss, **output.parts}.items():
                value = value.detach()
                share = value.to(torch.promote_types(value.dtype, torch.float32)) / len(batches)
                logged[name] = logged[name] + share if name in logged else share
        if not logged["loss"].isfinite():
            raise DataError(
                f"the loss is {logged['loss'].item()} at step {number}: lower the learning rate, or set "
                "`clip_norm`"
            )
        if self._config.clip_norm is not None:
            logged["gradient_norm"] = accelerator.clip_grad_norm_(
                task.module.parameters(), self._config.clip_norm
            ).float()
        self.optimizer.step()
        if self.averages is not None:
            self.averages.update(number)
        return {**logged, "learning_rate": torch.as_tensor(rate, device=accelerator.device)}

    def open_epoch(self, epoch: int) -> None:
        """Tells an `EpochTask` which epoch begins."""
        if isinstance(self._task, EpochTask):
            self._task.open_epoch(epoch)

    def close_epoch(self, epoch: int) -> None:
        """Lets an `EpochTask` do its work between epochs."""
        if isinstance(self._task, EpochTask):
            self._task.module.eval()
            with nullcontext() if self.averages is None else self.averages.applied(), torch.no_grad():
                self._task.close_epoch(epoch, self._accelerator)

    def evaluate(self) -> tuple[dict[str, float], dict[str, Tensor]]:
        """The task's measurements, and the weights that were measured: the averages if there are any."""
        self._task.module.eval()
        with nullcontext() if self.averages is None else self.averages.applied():
            with torch.no_grad():
                measured = self._task.evaluate(self._accelerator)
            weights = {name: one.cpu().clone() for name, one in trained_tensors(self._task.module).items()}
        return measured, weights

    def tensors(self) -> dict[str, Tensor]:
        """All tensors of the state."""
        parts = {"module": trained_tensors(self._task.module), "optimizer": optimizer_tensors(self.optimizer)}
        if self.averages is not None:
            parts["average"] = self.averages.averages
        if isinstance(self._task, EpochTask):
            parts["task"] = dict(self._task.state())
        return {f"{part}/{name}": one for part, tensors in parts.items() for name, one in tensors.items()}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Loads the result of `tensors`. Raises DataError for another model's."""

        def of(part: str) -> dict[str, Tensor]:
            prefix = f"{part}/"
            return {name[len(prefix) :]: one for name, one in tensors.items() if name.startswith(prefix)}

        load_trained_tensors(self._task.module, of("module"))
        load_optimizer_tensors(self.optimizer, of("optimizer"))
        if self.averages is not None:
            self.averages.load(of("average"))
        if isinstance(self._task, EpochTask):
            self._task.load_state(of("task"))
