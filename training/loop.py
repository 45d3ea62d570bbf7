"""The training loop: any task, one or many processes, and a kill at any moment costs a few steps.

Processes, devices and mixed precision are Hugging Face Accelerate's (`torchrun` starts several processes).
Everything random is a function of the seed and the position (`training.data.batches`), so that the state of
a run is its weights, its moments and a handful of numbers. On a CPU a resumed run ends in the very bits of
the run that was never interrupted; on a GPU as far as its kernels repeat themselves.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

import torch
from accelerate import Accelerator
from accelerate.utils import send_to_device, set_seed
from pydantic import Field
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader, Dataset

from model.config import Frozen
from training.averaging import AveragedWeights
from training.data.batches import Split, count_steps, derive_seed, epoch_draws
from training.data.dataset import DataError
from training.run_log import RunLog
from training.run_state import (
    load_optimizer_tensors,
    load_trained_tensors,
    optimizer_tensors,
    read_state,
    trained_tensors,
    write_state,
)

STATE, BEST = "state.safetensors", "best.safetensors"


class LoopConfig(Frozen):
    """How a task is trained, whichever it is."""

    epochs: int = Field(20, ge=1)
    batch_size: int = Field(32, ge=1)
    """Photographs of a step, over all processes: the result does not depend on how many there are."""
    passes: int = Field(1, ge=1)
    """Parts in which each process computes its share of a step, where memory is short (accumulation)."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """`bfloat16`: matrix products in half precision; weights and their updates stay float32."""
    clip_norm: float | None = Field(None, gt=0)
    """Longest gradient, over all parameters."""
    averaging: float | None = Field(None, gt=0, lt=1)
    """Decay of the weights' moving average (EMA), which is evaluated and kept in their place."""
    patience: int | None = Field(None, ge=1)
    """Stop after so many epochs without a better evaluation."""
    save_every: int = Field(500, ge=1)
    """Steps after which the state is saved; it is also saved after each epoch."""
    log_every: int = Field(50, ge=1)
    """Steps between two lines of `metrics.jsonl`."""
    tensorboard: bool = False
    """Write for TensorBoard too, into the run's directory."""
    workers: int = Field(4, ge=0)
    """Processes that read photographs, for each process that trains."""
    seed: int = Field(0, ge=0)


class StepOutput(NamedTuple):
    """What a task makes of a batch."""

    loss: Tensor
    """[]: a mean over the batch's photographs."""
    parts: dict[str, Tensor]
    """Numbers to log beside it, [] each."""


class Schedule(Protocol):
    """The learning rate by position."""

    def apply(self, optimizer: Optimizer, position: float) -> float:
        """Sets the rate of every group at a position in epochs; returns the rate itself."""
        ...


class Task(Protocol):
    """All that the loop knows of what it trains."""

    @property
    def module(self) -> nn.Module:
        """What is trained; one call of it serves one batch."""
        ...

    @property
    def schedule(self) -> Schedule: ...

    @property
    def train_data(self) -> Dataset[Any]:
        """Indexed by `Draw`."""
        ...

    @property
    def measure(self) -> str:
        """The name of the number that is best when highest, among those of `evaluate`."""
        ...

    def optimizer(self) -> Optimizer:
        """Made once, over the parameters of `module`, which are then on their device."""
        ...

    def training_step(self, module: nn.Module, batch: Any) -> StepOutput:
        """`module` is the task's own, wrapped for several processes; `batch` is on its device."""
        ...

    def evaluate(self, accelerator: Accelerator) -> dict[str, float]:
        """The same numbers in every process. None at all: the last epoch counts as the best."""
        ...


@dataclass
class Progress:
    """Where a run is."""

    epoch: int = 0
    """Epochs done."""
    step: int = 0
    """Steps done of the epoch after those."""
    best: float | None = None
    """The highest evaluation."""
    best_epoch: int | None = None
    """After which it was, counted from 0."""
    finished: bool = False
    log_bytes: int = 0
    """Length of `metrics.jsonl`."""


class Optimization:
    """A task, ready to make steps."""

    def __init__(self, task: Task, accelerator: Accelerator, config: LoopConfig) -> None:
        self._task, self._accelerator, self._config = task, accelerator, config
        task.module.to(accelerator.device)
        # Before the module is wrapped: freezing happens here, and a wrapper looks at what has a gradient.
        self.optimizer = task.optimizer()
        self._module = accelerator.prepare_model(task.module)
        decay = config.averaging
        self.averages = None if decay is None else AveragedWeights(task.module, decay)

    def step(self, batches: Sequence[Any], number: int, position: float) -> dict[str, Tensor]:
        """One step over `batches`, all of the same size; the `number`-th of the run, counted from 1.

        Returns numbers to log: means over the batches of this process. Raises DataError when the loss is
        no number any more.
        """
        accelerator, task = self._accelerator, self._task
        task.module.train()
        rate = task.schedule.apply(self.optimizer, position)
        self.optimizer.zero_grad()
        # The same in every pass and process: what is drawn for the labels then agrees between them.
        set_seed(derive_seed(self._config.seed, number))
        logged: dict[str, Tensor] = {}
        for index, batch in enumerate(batches):
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

    def evaluate(self) -> tuple[dict[str, float], dict[str, Tensor]]:
        """What the task measures, and the weights it measures: the averages where there are some."""
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
        return {f"{part}/{name}": one for part, tensors in parts.items() for name, one in tensors.items()}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Puts back what `tensors` gave. Raises DataError for another model's."""

        def of(part: str) -> dict[str, Tensor]:
            prefix = f"{part}/"
            return {name[len(prefix) :]: one for name, one in tensors.items() if name.startswith(prefix)}

        load_trained_tensors(self._task.module, of("module"))
        load_optimizer_tensors(self.optimizer, of("optimizer"))
        if self.averages is not None:
            self.averages.load(of("average"))


def train(task: Task, config: LoopConfig, directory: Path, identity: Mapping[str, Any]) -> Progress:
    """Trains `task`, or goes on where a run in `directory` was interrupted; the best weights end up in the
    task's module and in `best.safetensors`.

    Args:
        identity: what makes this run this run, as JSON: configuration, start weights, data. A directory that
            holds a run of another identity is refused.

    Raises DataError when the run cannot go on, and ValueError when a batch cannot be shared out.
    """
    accelerator = Accelerator(mixed_precision="bf16" if config.precision == "bfloat16" else "no")
    directory.mkdir(parents=True, exist_ok=True)
    identity = {**identity, "loop": config.model_dump(exclude={"workers", "tensorboard", "log_every"})}
    optimization, progress = Optimization(task, accelerator, config), Progress()
    if (directory / STATE).is_file():
        tensors, content = read_state(directory / STATE)
        _check_identity(directory, content["identity"], identity)
        optimization.load(tensors)
        progress = Progress(**content["progress"])
    if not progress.finished:
        _train(task, config, directory, optimization, progress, accelerator, identity)
    accelerator.wait_for_everyone()
    load_trained_tensors(task.module, read_state(directory / BEST)[0])
    task.module.eval()
    return progress


def _train(
    task: Task,
    config: LoopConfig,
    directory: Path,
    optimization: Optimization,
    progress: Progress,
    accelerator: Accelerator,
    identity: Mapping[str, Any],
) -> None:
    main = accelerator.is_main_process
    split = Split(config.batch_size, config.passes, accelerator.num_processes, accelerator.process_index)
    photographs = len(task.train_data)  # type: ignore[arg-type]
    steps = count_steps(photographs, config.batch_size)
    done = progress.epoch * steps + progress.step

    def save() -> None:
        progress.log_bytes = log.written()
        if main:
            content = {"identity": identity, "progress": asdict(progress)}
            write_state(directory / STATE, optimization.tensors(), content)

    total = config.epochs * steps
    with RunLog(directory, total, done, progress.log_bytes, config.tensorboard, main) as log:
        while not progress.finished:
            draws = list(epoch_draws(photographs, split, config.seed, progress.epoch, progress.step))
            batches = iter(_loader(task.train_data, draws, config.workers))
            log.restart_clock()
            for step in range(progress.step, steps):
                number = progress.epoch * steps + step + 1
                passes = [next(batches) for _ in range(config.passes)]
                logged = optimization.step(passes, number, progress.epoch + step / steps)
                progress.step = step + 1
                log.count(config.batch_size, progress.epoch, logged["loss"].item())
                if number % config.log_every == 0 or progress.step == steps:
                    log.write(number, progress.epoch, _mean(accelerator, logged), speed=True)
                if number % config.save_every == 0 and progress.step < steps:
                    save()
            measured, weights = optimization.evaluate()
            log.write((progress.epoch + 1) * steps, progress.epoch, measured)
            _close_epoch(progress, config, measured.get(task.measure, float(progress.epoch)))
            if main and progress.best_epoch == progress.epoch - 1:
                write_state(directory / BEST, weights, {"epoch": progress.best_epoch, "measured": measured})
            save()


def _loader(data: Dataset[Any], draws: list[Any], workers: int) -> Iterator[Any]:
    # A generator of its own: a loader draws its workers' seed from the global one.
    generator = torch.Generator().manual_seed(0)
    return iter(DataLoader(data, batch_sampler=draws, num_workers=workers, generator=generator))


def _close_epoch(progress: Progress, config: LoopConfig, value: float) -> None:
    if progress.best is None or value > progress.best or math.isnan(progress.best):
        progress.best, progress.best_epoch = value, progress.epoch
    progress.epoch, progress.step = progress.epoch + 1, 0
    waited = progress.epoch - 1 - (progress.best_epoch or 0)
    out_of_patience = config.patience is not None and waited >= config.patience
    progress.finished = progress.epoch == config.epochs or out_of_patience


def _mean(accelerator: Accelerator, logged: dict[str, Tensor]) -> dict[str, float]:
    """Over the processes."""
    values = torch.stack([value.double() for value in logged.values()])
    if accelerator.num_processes > 1:
        values = accelerator.reduce(values, reduction="mean")
    return dict(zip(logged, values.tolist(), strict=True))


def _check_identity(directory: Path, theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> None:
    for key in {**theirs, **ours}:
        if theirs.get(key) != ours.get(key):
            raise DataError(
                f"{directory} holds a run with another `{key}`: name a new directory, or take that run's own "
                "configuration"
            )
