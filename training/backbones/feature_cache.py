"""Outputs of a frozen module for every photograph, kept on disk, which makes training on a CPU practical.

They are computed in blocks, and a block that is on disk counts: after a kill at any moment the next run goes
on with the first block that is missing. `task: everyday` has a cache of its own (`frozen_features`), which
skips unreadable photographs and hashes all others.
"""

import hashlib
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from sigrl.model.config import Preprocessing
from sigrl.training.backbones.cache_files import announce_size, is_main, locked, wait
from sigrl.training.backbones.features import photograph_batches, read_photograph

BATCH_SIZE = 32
BLOCK = 8 * BATCH_SIZE
"""Largest number of photographs that are computed again after a kill."""
Compute = Callable[[Tensor], Tensor]
"""Pixel values [B, 3, S, S] -> outputs [B, ...] on the CPU, in any floating dtype or in int8."""


def image_features(
    paths: Sequence[Path],
    preprocessing: Preprocessing,
    compute: Compute,
    module: nn.Module,
    cache: Path,
    description: str,
    accelerator: Accelerator | None = None,
) -> np.ndarray:
    """The output of `compute` for every photograph, as an array [N, ...] in a file under `cache`: float16, or
    int8 if `compute` returns that.

    The file name is a hash of the photographs' names, the preprocessing and the weights of `module`, which
    are all that `compute` may depend on. A second call therefore only opens the file. The size is printed
    before anything is computed. The processes of `accelerator`, which share the disk, share the blocks. Uses
    bfloat16 (autocast) where the processor supports it.

    Raises DataError for a photograph that cannot be read, for a disk that is too small, and if another run
    computes the same features at this moment.
    """
    path = cache / f"{_fingerprint(paths, preprocessing, module)}.npy"
    if not path.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        with locked(path, accelerator):
            # Another run may have finished while this one waited for its other processes.
            if not path.is_file():
                _compute_all(path, paths, preprocessing, compute, description, accelerator)
    # Copy on write, because torch warns about read-only arrays.
    array: np.ndarray = np.load(path, mmap_mode="c")
    return array


def _compute_all(
    path: Path,
    paths: Sequence[Path],
    preprocessing: Preprocessing,
    compute: Compute,
    description: str,
    accelerator: Accelerator | None,
) -> None:
    unfinished, marks = path.with_suffix(".unfinished"), path.with_suffix(".blocks")
    if is_main(accelerator):
        first = torch.from_numpy(read_photograph(paths[0], preprocessing))[None]
        _prepare(unfinished, marks, len(paths), _run(compute, first), description)
    wait(accelerator)
    array = np.lib.format.open_memmap(unfinished, mode="r+")
    done = np.memmap(marks, np.uint8, mode="r+")
    missing = np.flatnonzero(done == 0)
    # Before the first process marks a block, every process must have seen what is missing.
    wait(accelerator)
    own = missing if accelerator is None else missing[accelerator.process_index :: accelerator.num_processes]
    ends = {block: min((block + 1) * BLOCK, len(paths)) for block in own}
    own_paths = [paths[row] for block in own for row in range(block * BLOCK, ends[block])]
    firsts = [row for block in own for row in range(block * BLOCK, ends[block], BATCH_SIZE)]
    batches = photograph_batches(own_paths, preprocessing, description, BATCH_SIZE, workers=1)
    with closing(batches):
        for row, pixel_values in zip(firsts, batches, strict=True):
            outputs = _run(compute, pixel_values)
            array[row : row + len(outputs)] = outputs
            block = row // BLOCK
            if row + len(outputs) == ends[block]:
                array.flush()
                done[block] = 1
                done.flush()
    wait(accelerator)
    if is_main(accelerator):
        unfinished.rename(path)
        marks.unlink()


def _prepare(
    unfinished: Path, marks: Path, count: int, example: npt.NDArray[np.generic], description: str
) -> None:
    """Makes the files of the array and its marks, unless an earlier run left them, and says their size."""
    for old in unfinished.parent.glob(f"{unfinished.stem}.*.unfinished"):
        # Versions that could not go on left these.
        old.unlink()
    shape, blocks = (count, *example.shape[1:]), -(-count // BLOCK)
    done = np.fromfile(marks, np.uint8) if marks.is_file() and unfinished.is_file() else np.zeros(0, np.uint8)
    needed = int((example.nbytes * count) * (1 - done.sum() / blocks))
    advice = "make room, or choose a smaller form (`cache`, if the task has it)"
    announce_size(description, example.nbytes, count, needed, unfinished.parent, advice)
    if len(done) != blocks:
        np.lib.format.open_memmap(unfinished, mode="w+", dtype=example.dtype, shape=shape).flush()
        np.zeros(blocks, np.uint8).tofile(marks)


@torch.inference_mode()
def _run(compute: Compute, pixel_values: Tensor) -> npt.NDArray[np.generic]:
    with torch.autocast("cpu", torch.bfloat16):
        outputs = compute(pixel_values.contiguous(memory_format=torch.channels_last))
    array: npt.NDArray[np.generic] = (outputs if outputs.dtype == torch.int8 else outputs.half()).numpy()
    return array


def files_fingerprint(paths: Sequence[Path], note: str) -> str:
    """Sixteen hex digits that change with `note`, and with the path, size or time of any file. A photograph
    within an archive counts as its archive."""
    digest = hashlib.sha256(note.encode())
    for path in paths:
        file = next((one for one in (path, *path.parents) if one.is_file()), None)
        status = None if file is None else file.stat()
        digest.update(f"{path}:{status and (status.st_size, status.st_mtime_ns)}\n".encode())
    return digest.hexdigest()[:16]


def _fingerprint(paths: Sequence[Path], preprocessing: Preprocessing, module: nn.Module) -> str:
    digest = hashlib.sha256(preprocessing.model_dump_json().encode())
    for path in paths:
        digest.update(path.name.encode())
    for name, tensor in module.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
