"""`sigrl-train fit --dry-run`: what a run on your own photographs would take, measured on a few of them."""

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from rich.filesize import decimal
from torch import Tensor

from sigrl.model.bundle import load_bundle
from sigrl.model.bundle_files import bundled_path
from sigrl.training.backbones.features import read_photograph
from sigrl.training.backbones.projection import without_projection
from sigrl.training.data.batches import count_steps
from sigrl.training.loop.loop import create_accelerator
from sigrl.training.tasks.photographs.bundle import NAMES, is_cached, stored_form
from sigrl.training.tasks.photographs.config import PhotographsConfig
from sigrl.training.tasks.photographs.data import OwnData, load_own_data
from sigrl.training.tasks.photographs.inputs import TowerFeatures, tower_outputs
from sigrl.training.tasks.photographs.model import PhotographTagger, encode_labels
from sigrl.training.tasks.photographs.task import REMEMBERED

T = TypeVar("T")
_PROBED = 8
"""Photographs that are measured."""


@dataclass(frozen=True)
class Plan:
    """What a run would take if it went on to its last epoch."""

    training: int
    """Photographs that are trained on."""
    validation: int
    labels: int
    steps: int
    tower_seconds: float
    """Texts and the image tower's pass over all photographs; 0 for the pass if it is part of training."""
    training_seconds: float
    feature_bytes: int
    """0 if nothing is cached."""
    other_bytes: int
    """The state of the run, its best weights and its bundle."""

    def sentences(self, config: PhotographsConfig, free: int) -> tuple[str, ...]:
        """The plan for a person; `free` are the bytes that the disk has."""
        epochs, patience = config.loop.epochs, config.loop.patience
        sooner = "" if patience is None else f"; it ends sooner after {patience} epochs that are not better"
        first, then = self.tower_seconds / 60, self.training_seconds / 60
        disk = decimal(self.feature_bytes + self.other_bytes)
        return (
            f"photographs: {self.training:,} to train on, {self.validation:,} to compare epochs on; "
            f"{self.labels:,} labels",
            f"steps: {self.steps:,} in {epochs} epochs of {self.steps // epochs:,}{sooner}",
            f"time: about {first + then:.0f} minutes on this machine at its present load, {first:.0f} of "
            "them before the first step",
            f"disk: {disk}, including {decimal(self.feature_bytes)} of features, which you may delete "
            f"afterwards; {decimal(free)} are free",
        )


def plan_photographs(config: PhotographsConfig, directory: Path) -> tuple[str, ...]:
    """What a run in `directory` would take. See `plan`."""
    there = next(one for one in (directory.absolute(), *directory.absolute().parents) if one.is_dir())
    return plan(config).sentences(config, shutil.disk_usage(there).free)


def plan(config: PhotographsConfig) -> Plan:
    """Reads the labels, looks whether the photographs exist, and measures a few. Writes nothing. Raises as
    `fit_photographs` does before it trains."""
    data = load_own_data(config.model_copy(update={"check": "exists"}))
    probe = _Probe(config, data)
    training, validation = len(data.train), len(data.validation)
    steps = config.loop.epochs * count_steps(training, config.loop.batch_size)
    per_step = probe.step_seconds * config.loop.batch_size
    compared = probe.score_seconds * (validation * (config.loop.epochs + 2) + training)
    cached = is_cached(config)
    views = 2 if config.augment else 1
    return Plan(
        training=training,
        validation=validation,
        labels=len(data.train.label_names),
        steps=steps,
        tower_seconds=probe.text_seconds * (len(data.train.label_names) + (NAMES if config.remember else 0))
        + (probe.tower_seconds * (views * training + validation) if cached else 0),
        training_seconds=steps * per_step + compared,
        feature_bytes=probe.view_bytes["train"] * views * training
        + probe.view_bytes["validation"] * validation,
        other_bytes=probe.state_bytes,
    )


class _Probe:
    """Seconds and bytes of one photograph or text, measured."""

    def __init__(self, config: PhotographsConfig, data: OwnData) -> None:
        device = create_accelerator(config.loop).device
        directory = bundled_path() if config.start == "bundled" else config.start
        start = load_bundle(directory)
        labels = data.vocabulary.labels[:_PROBED]
        text, features = _timed(lambda: encode_labels(start, labels))
        self.text_seconds = text / len(labels)
        module = PhotographTagger(start, features, config.tower).to(device)
        columns = (torch.arange(len(data.vocabulary.labels) + REMEMBERED) % len(labels)).to(device)
        paths = data.train.image_paths[:_PROBED]
        preprocessing = start.manifest.preprocessing
        reading, pixels = _timed(lambda: np.stack([read_photograph(path, preprocessing) for path in paths]))
        inputs = torch.from_numpy(pixels)
        self.tower_seconds, self.view_bytes = 0.0, {"train": 0, "validation": 0}
        if is_cached(config):
            for part in ("validation", "train"):
                form = stored_form(config, part)
                compute = tower_outputs(module.backbone, module.head, device, mirrored=False, form=form)
                with torch.inference_mode(), without_projection(module.backbone):
                    tower, outputs = _twice(lambda compute=compute: compute(inputs))
                stored = (outputs if form == "int8" else outputs.half()).numpy()
                self.view_bytes[part] = stored[0].nbytes
            self.tower_seconds = (tower + reading) / len(paths)
            inputs, reading = TowerFeatures(stored).read(slice(None), 0), 0.0
        inputs = inputs.to(device)
        # Several processes read photographs at the same time.
        waiting = reading / max(config.loop.workers, 1) / len(paths)
        self.step_seconds = _twice(lambda: _step(module, inputs, columns))[0] / len(paths) + waiting
        with torch.no_grad():
            scoring = _twice(lambda: module.eval()(inputs, columns))[0]
        self.score_seconds = scoring / len(paths) + waiting
        trained = sum(one.numel() for one in module.parameters() if one.requires_grad)
        # Weights, two moments and an average in the state, and the best weights; in float32.
        files = sum(file.stat().st_size for file in Path(directory).iterdir() if file.is_file())
        self.state_bytes = 5 * 4 * trained + files


def _step(module: PhotographTagger, inputs: Tensor, columns: Tensor) -> None:
    module.train()
    module(inputs, columns).square().mean().backward()
    module.zero_grad()


def _twice(run: Callable[[], T]) -> tuple[float, T]:
    """The second run, because the first one allocates and compiles."""
    run()
    return _timed(run)


def _timed(run: Callable[[], T]) -> tuple[float, T]:
    start = time.perf_counter()
    result = run()
    return time.perf_counter() - start, result
