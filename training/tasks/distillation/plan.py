"""`sigrl-train distill --dry-run`: what a run would take, measured on a few photographs."""

import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from rich.filesize import decimal
from torch import Tensor

from sigrl.training.backbones.features import read_photograph
from sigrl.training.data.batches import count_steps
from sigrl.training.tasks.distillation.photographs import frozen_outputs, open_teacher, teacher_outputs
from sigrl.training.tasks.distillation.run import Distillation
from sigrl.training.tasks.distillation.student import Student

_PROBED = 8
"""Photographs that are measured."""


def plan(asked: Distillation, directory: Path) -> tuple[str, ...]:
    """What the run would take, in sentences. Writes nothing. Raises DataError and BundleError."""
    student = Student(asked.bundle, asked.pixels)
    paths = asked.training[:_PROBED]
    found: list[Tensor] = []
    seconds = 0.0
    ways = (
        (asked.bundle.manifest.preprocessing, teacher_outputs(open_teacher(asked.teacher), asked.grid)),
        (student.preprocessing, frozen_outputs(student)),
    )
    with torch.inference_mode():
        for preprocessing, compute in ways:
            start = time.perf_counter()
            pixel_values = torch.from_numpy(
                np.stack([read_photograph(path, preprocessing) for path in paths])
            )
            reading = time.perf_counter() - start
            seconds += (reading + _second(lambda: found.append(compute(pixel_values)))) / len(paths)  # noqa: B023
    seen, frozen = found[-3], found[-1].clone()
    step = _second(lambda: _step(student, frozen, asked.grid)) / len(paths)
    count = len(asked.photographs)
    steps = asked.epochs * count_steps(len(asked.training), asked.loop.batch_size)
    first, then = count * seconds / 60, steps * asked.loop.batch_size * step / 60
    kept = 2 * count * (seen[0].numel() + frozen[0].numel())
    there = next(one for one in (directory.absolute(), *directory.absolute().parents) if one.is_dir())
    return (
        f"photographs: {len(asked.training):,} to train on, {len(asked.held_out):,} held out",
        f"steps: {steps:,} in {asked.epochs} epochs",
        f"time: about {first + then:.0f} minutes on this machine at its present load, {first:.0f} of them "
        "before the first step",
        f"disk: {decimal(kept)} of features, which are deleted at the end; "
        f"{decimal(shutil.disk_usage(there).free)} are free",
    )


def _step(student: Student, frozen: Tensor, grid: tuple[int, int]) -> None:
    pooled = 2 * student.visual.trunk.conv_head.out_channels
    student.train()
    seen = student(frozen[:, :-pooled].reshape(len(frozen), -1, *grid), frozen[:, -pooled:])
    (seen.embeddings.square().mean() + seen.tokens.square().mean() + seen.word_logits.sum()).backward()
    student.zero_grad()


def _second(run: Callable[[], object]) -> float:
    """Seconds of the second run, because the first one allocates and compiles."""
    run()
    start = time.perf_counter()
    run()
    return time.perf_counter() - start
