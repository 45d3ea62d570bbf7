"""Runs photographs through a model without gradients, distributed over all processes."""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor
from torch.utils.data import DataLoader

from sigrl.model.config import Preprocessing
from sigrl.training.backbones.features import PhotographDataset, progress_bar


@torch.inference_mode()
def map_photographs(
    compute: Callable[[Tensor], Sequence[Tensor]],
    accelerator: Accelerator,
    paths: Sequence[Path],
    preprocessing: Preprocessing,
    description: str,
    batch_size: int = 64,
    workers: int = 4,
) -> list[Tensor]:
    """Applies `compute` to N photographs' pixel values in batches [B, 3, S, S] on the accelerator's device.
    Each of the tensors [B, ...] it returns is concatenated over all photographs [N, ...], on the CPU in at
    least float32.

    The result is the same in every process, and for any number of processes up to rounding.
    """
    count, processes = len(paths), accelerator.num_processes
    # Every process gets equally many photographs: the last one fills up the rest, and its copies are cut off.
    share = -(-count // processes)
    first = accelerator.process_index * share
    rows = [min(row, count - 1) for row in range(first, first + share)]
    data = PhotographDataset([paths[row] for row in rows], preprocessing)
    parts: list[list[Tensor]] = []
    with accelerator.autocast(), progress_bar() as progress:
        bar = progress.add_task(description, total=share, note="")
        for pixel_values in DataLoader(data, batch_size=batch_size, num_workers=workers):
            outputs = compute(pixel_values.to(accelerator.device))
            parts.append([one.to(torch.promote_types(one.dtype, torch.float32)) for one in outputs])
            progress.update(bar, advance=len(pixel_values))
    gathered = [accelerator.gather(torch.cat(part)) for part in zip(*parts, strict=True)]
    return [outputs[:count].cpu() for outputs in gathered]
