"""Outputs of frozen modules, computed once and cached on disk. This makes training on a CPU practical."""

import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from sigrl.model.config import Preprocessing
from sigrl.model.preprocess import preprocess
from sigrl.training.data.opening import open_photograph

_BATCH_SIZE = 32


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


def progress_bar() -> Progress:
    """The progress bar of all training commands: bar, count, time left. Only one of several processes shows
    it."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    main = os.environ.get("RANK", "0") == "0"
    return Progress(*columns, TextColumn("{task.fields[note]}"), disable=not main)


def image_features(
    paths: Sequence[Path],
    preprocessing: Preprocessing,
    compute: Callable[[Tensor], Tensor],
    module: nn.Module,
    cache: Path,
    description: str,
) -> np.ndarray:
    """The output of `compute` for every photograph, as a float16 array [N, ...] backed by a file under
    `cache`.

    The file name is a hash of the photographs' names, the preprocessing and the weights of `module`, which
    are all that `compute` may depend on. A second call therefore only opens the file. Uses bfloat16
    (autocast) where the processor supports it.
    """
    path = cache / f"{_fingerprint(paths, preprocessing, module)}.npy"
    if path.is_file():
        return _open(path)
    cache.mkdir(parents=True, exist_ok=True)
    loader = DataLoader(PhotographDataset(paths, preprocessing), batch_size=_BATCH_SIZE, num_workers=1)
    # Two runs may compute the same outputs at the same time, so each writes its own file.
    unfinished = path.with_suffix(f".{os.getpid()}.unfinished")
    try:
        _write(unfinished, loader, compute, description)
        unfinished.rename(path)
    finally:
        unfinished.unlink(missing_ok=True)
    return _open(path)


def _open(path: Path) -> np.ndarray:
    # Copy on write, because torch warns about read-only arrays.
    array: np.ndarray = np.load(path, mmap_mode="c")
    return array


def _write(
    path: Path, loader: DataLoader[np.ndarray], compute: Callable[[Tensor], Tensor], description: str
) -> None:
    count = len(loader.dataset)  # type: ignore[arg-type]
    array: np.ndarray | None = None
    done = 0
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16), progress_bar() as progress:
        task = progress.add_task(description, total=count, note="")
        for pixel_values in loader:
            batch = compute(pixel_values.contiguous(memory_format=torch.channels_last)).half().numpy()
            if array is None:
                shape = (count, *batch.shape[1:])
                array = np.lib.format.open_memmap(path, mode="w+", dtype=np.float16, shape=shape)
            array[done : done + len(batch)] = batch
            done += len(batch)
            progress.update(task, completed=done)


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


def _fingerprint(paths: Iterable[Path], preprocessing: Preprocessing, module: nn.Module) -> str:
    digest = hashlib.sha256(preprocessing.model_dump_json().encode())
    for path in paths:
        digest.update(path.name.encode())
    for name, tensor in module.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
