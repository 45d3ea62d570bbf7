"""Photographs and texts through a model: batches of pixel values, and outputs of all of them."""

from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from sigrl.model.config import Preprocessing
from sigrl.model.preprocess import preprocess
from sigrl.training.data.opening import open_photograph
from sigrl.training.terminal import progress_bar

_MAPPED_BATCH_SIZE = 64


def read_photograph(path: Path, preprocessing: Preprocessing) -> np.ndarray:
    """Pixel values [3, S, S] of a file, preprocessed as the service does it. Raises DataError."""
    return preprocess(open_photograph(path), preprocessing)


class PhotographDataset(Dataset[np.ndarray]):
    """Pixel values [3, S, S] of a list of files."""

    def __init__(self, paths: Sequence[Path], preprocessing: Preprocessing) -> None:
        self.paths = paths
        self.preprocessing = preprocessing

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> np.ndarray:
        return read_photograph(self.paths[index], self.preprocessing)


def photograph_batches(
    paths: Sequence[Path], preprocessing: Preprocessing, description: str, batch_size: int, workers: int
) -> Generator[Tensor, None, None]:
    """Pixel values [B, 3, S, S] of all photographs, in order, with a progress bar that lasts until the
    generator is closed. Raises DataError."""
    loader = DataLoader(PhotographDataset(paths, preprocessing), batch_size=batch_size, num_workers=workers)
    with progress_bar() as progress:
        bar = progress.add_task(description, total=len(paths), note="")
        for pixel_values in loader:
            yield pixel_values
            progress.update(bar, advance=len(pixel_values))


@torch.inference_mode()
def map_photographs(
    compute: Callable[[Tensor], Sequence[Tensor]],
    accelerator: Accelerator,
    paths: Sequence[Path],
    preprocessing: Preprocessing,
    description: str,
    workers: int,
) -> list[Tensor]:
    """Applies `compute` to N photographs' pixel values in batches [B, 3, S, S] on the accelerator's device.
    Each of the tensors [B, ...] it returns is concatenated over all photographs [N, ...], on the CPU in at
    least float32.

    The photographs are distributed over all processes. The result is the same in every process, and for any
    number of processes up to rounding.
    """
    count, processes = len(paths), accelerator.num_processes
    # Every process gets equally many photographs: the last one fills up the rest, and its copies are cut off.
    share = -(-count // processes)
    first = accelerator.process_index * share
    own = [paths[min(row, count - 1)] for row in range(first, first + share)]
    parts: list[list[Tensor]] = []
    batches = photograph_batches(own, preprocessing, description, _MAPPED_BATCH_SIZE, workers)
    with accelerator.autocast(), closing(batches):
        for pixel_values in batches:
            outputs = compute(pixel_values.to(accelerator.device))
            parts.append([one.to(torch.promote_types(one.dtype, torch.float32)) for one in outputs])
    gathered = [accelerator.gather(torch.cat(part)) for part in zip(*parts, strict=True)]
    return [outputs[:count].cpu() for outputs in gathered]


def text_features(
    encode: Callable[[Sequence[str]], Tensor], texts: Sequence[str], description: str
) -> Tensor:
    """The output of `encode` for all texts [N, D], computed in batches of similar length, with a progress
    bar."""
    order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
    parts: list[Tensor] = []
    with torch.inference_mode(), progress_bar() as progress:
        task = progress.add_task(description, total=len(texts), note="")
        for start in range(0, len(order), 256):
            batch = [texts[index] for index in order[start : start + 256]]
            parts.append(encode(batch))
            progress.update(task, advance=len(batch))
    return torch.cat(parts)[torch.tensor(order).argsort()].clone()
