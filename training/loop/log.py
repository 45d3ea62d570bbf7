"""The log of a training run: a line on the terminal, `metrics.jsonl`, TensorBoard."""

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from sigrl.training.data.dataset import DataError
from sigrl.training.terminal import progress_bar

METRICS = "metrics.jsonl"


class RunLog:
    """A context that shows and records a run's numbers. Only the main process writes anything."""

    def __init__(
        self, directory: Path, total_steps: int, done: int, written: int, tensorboard: bool, main: bool
    ) -> None:
        """`done` of `total_steps` steps were made before, and `written` bytes of `metrics.jsonl` describe
        them. Any later lines are from steps that will be repeated after a kill, and are cut off."""
        self._writer = _summary_writer(directory, done) if tensorboard and main else None
        self._file = None
        if main:
            path = directory / METRICS
            path.touch()
            os.truncate(path, written)
            self._file = path.open("a", encoding="utf-8")
        self._progress = progress_bar()
        self._bar = self._progress.add_task("train", total=total_steps, completed=done, note="")
        self._since = time.perf_counter()
        self._images = 0

    def __enter__(self) -> "RunLog":
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._progress.stop()
        if self._file is not None:
            self._file.close()
        if self._writer is not None:
            self._writer.close()

    def count(self, images: int, epoch: int, loss: float) -> None:
        """Records one step."""
        self._images += images
        note = f"epoch {epoch + 1}, loss {loss:.4f}, {self._speed():.1f} images/s"
        self._progress.update(self._bar, advance=1, note=note)

    def write(self, step: int, epoch: int, measured: Mapping[str, float], speed: bool = False) -> None:
        """Writes a line of numbers after the run's `step`-th step. With `speed`, adds images per second since
        the last such line."""
        line: dict[str, Any] = {"step": step, "epoch": epoch, **measured}
        if speed:
            line["images_per_second"] = round(self._speed(), 2)
            self.restart_clock()
        if self._file is not None:
            self._file.write(json.dumps(line) + "\n")
            self._file.flush()
        if self._writer is not None:
            for name, value in measured.items():
                self._writer.add_scalar(name, value, step)

    def restart_clock(self) -> None:
        """Excludes the time until now, such as an evaluation, from the speed."""
        self._since = time.perf_counter()
        self._images = 0

    def written(self) -> int:
        """Number of bytes of `metrics.jsonl` that are safely on disk."""
        if self._file is None:
            return 0
        os.fsync(self._file.fileno())
        return self._file.tell()

    def _speed(self) -> float:
        return self._images / max(time.perf_counter() - self._since, 1e-9)


def _summary_writer(directory: Path, done: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise DataError("TensorBoard is not installed: pip install 'sigrl-tagger[tensorboard]'") from error
    return SummaryWriter(directory / "tensorboard", purge_step=done + 1)
