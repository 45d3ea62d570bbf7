"""The training loop: trains any task, in one or many processes; a kill at any moment costs only a few steps.

Hugging Face Accelerate handles processes, devices and mixed precision (`torchrun` starts several processes).
All randomness is a function of the seed and the position (`sigrl.training.data.batches`), so the state of a
run is its weights, its moments and a few numbers. On a CPU a resumed run gives exactly the same weights as an
uninterrupted one; on a GPU this depends on whether its kernels are deterministic.
"""

import atexit
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed
from accelerate import Accelerator
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from sigrl.training.data.batches import Split, count_steps, epoch_draws
from sigrl.training.data.dataset import DataError
from sigrl.training.loop.log import RunLog
from sigrl.training.loop.state import load_trained_tensors, read_state, write_state
from sigrl.training.loop.step import Optimization
from sigrl.training.loop.task import LoopConfig, Task
from sigrl.training.terminal import log_line

STATE, BEST = "state.safetensors", "best.safetensors"
_NOT_IDENTITY = {"workers", "tensorboard", "log_every", "checkpointing"}
"""Settings that do not change what a run learns; a resumed run may change them."""


@dataclass
class Progress:
    """The position of a run."""

    epoch: int = 0
    """Epochs done."""
    step: int = 0
    """Steps done in the current epoch."""
    best: float | None = None
    """The highest evaluation so far."""
    best_epoch: int | None = None
    """The epoch of the highest evaluation, counted from 0."""
    finished: bool = False
    log_bytes: int = 0
    """Length of `metrics.jsonl`."""


def count_started_processes() -> int:
    """The number of processes that `torchrun` started; 1 without it."""
    # An empty variable means the same as none.
    return int(os.environ.get("WORLD_SIZE") or "1")


def create_accelerator(config: LoopConfig) -> Accelerator:
    """An accelerator with the processes and devices of `torchrun` and the precision of the configuration.

    Without a GPU the processes work together over gloo. Raises DataError if they cannot work together,
    because each would then train everything and write into the same directory.
    """
    started = count_started_processes()
    # Accelerate distributes over processors only when it is told to.
    on_processors = started > 1 and not torch.accelerator.is_available()
    precision = "bf16" if config.precision == "bfloat16" else "no"
    accelerator = Accelerator(cpu=on_processors, mixed_precision=precision)
    if accelerator.num_processes != started:
        raise DataError(
            f"{started} processes were started (WORLD_SIZE), but {accelerator.num_processes} found one "
            f"another on the device {accelerator.device}: start one, or one for each GPU"
        )
    if started > 1:
        atexit.register(_leave)
    return accelerator


def _leave() -> None:
    """Closes the connections to the other processes. Otherwise gloo's threads may still use them while the
    process is taken apart, and abort it after all its work is done."""
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def train(task: Task, config: LoopConfig, directory: Path, identity: Mapping[str, Any]) -> Progress:
    """Trains `task`, or resumes an interrupted run in `directory`. At the end the best weights are in the
    task's module and in `best.safetensors`.

    Args:
        identity: what identifies the run, as JSON: configuration, initial weights, data. A directory with a
            run of another identity is refused.

    Raises DataError when the run cannot be resumed, and ValueError when a batch cannot be divided evenly.
    """
    accelerator = create_accelerator(config)
    directory.mkdir(parents=True, exist_ok=True)
    identity = {**identity, "loop": config.model_dump(exclude=_NOT_IDENTITY)}
    optimization, progress = Optimization(task, accelerator, config), Progress()
    if (directory / STATE).is_file():
        tensors, content = read_state(directory / STATE)
        _check_identity(directory, content["identity"], identity)
        optimization.load(tensors)
        progress = Progress(**content["progress"])
    if not progress.finished:
        _train(task, config, directory, optimization, progress, accelerator, identity)
    if stopped := why_it_stopped(progress, config, task.measure):
        log_line(stopped)
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
            optimization.open_epoch(progress.epoch)
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
            optimization.close_epoch(progress.epoch)
            measured, weights = optimization.evaluate()
            log.write((progress.epoch + 1) * steps, progress.epoch, measured)
            _close_epoch(progress, config, measured.get(task.measure, float(progress.epoch)))
            if main and progress.best_epoch == progress.epoch - 1:
                write_state(directory / BEST, weights, {"epoch": progress.best_epoch, "measured": measured})
            save()


def _loader(data: Dataset[Any], draws: list[Any], workers: int) -> Iterator[Any]:
    # A loader draws its workers' seed from the global generator unless it gets its own.
    generator = torch.Generator().manual_seed(0)
    return iter(DataLoader(data, batch_sampler=draws, num_workers=workers, generator=generator))


def _close_epoch(progress: Progress, config: LoopConfig, value: float) -> None:
    if progress.best is None or value > progress.best or math.isnan(progress.best):
        progress.best, progress.best_epoch = value, progress.epoch
    progress.epoch, progress.step = progress.epoch + 1, 0
    waited = progress.epoch - 1 - (progress.best_epoch or 0)
    out_of_patience = config.patience is not None and waited >= config.patience
    progress.finished = progress.epoch == config.epochs or out_of_patience


def why_it_stopped(progress: Progress, config: LoopConfig, measure: str) -> str | None:
    """What a person should know about a run that ended before its last epoch; None for any other."""
    if progress.epoch == config.epochs or progress.best is None or progress.best_epoch is None:
        return None
    return (
        f"stopped after epoch {progress.epoch} of {config.epochs}: {measure} was best in epoch "
        f"{progress.best_epoch + 1} ({progress.best:.2f}) and not better in the {config.patience} epochs "
        "since (`loop.patience`). The weights of that epoch are kept"
    )


def _mean(accelerator: Accelerator, logged: dict[str, Tensor]) -> dict[str, float]:
    """The mean over the processes."""
    values = torch.stack([value.double() for value in logged.values()])
    if accelerator.num_processes > 1:
        values = accelerator.reduce(values, reduction="mean")
    return dict(zip(logged, values.tolist(), strict=True))


def _check_identity(directory: Path, theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> None:
    for key in {**theirs, **ours}:
        if theirs.get(key) != ours.get(key):
            raise DataError(
                f"{directory} has a run with another `{key}`: name a new directory, or use that run's "
                "configuration"
            )
