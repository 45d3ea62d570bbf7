"""Photographs through a model without gradients, shared out over as many processes as there are."""

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
    """`compute` of N photographs' pixel values, batch by batch [B, 3, S, S] on the accelerator's device: each
    of the tensors [B, ...] that it gives, for all photographs [N, ...], on the CPU and not below float32.

    The same in every process, and the same for any number of processes but for rounding.
    """
    count, processes = len(paths), accelerator.num_processes
    # Every process has equally many: those that are too many are the last photograph again, and cut off.
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
