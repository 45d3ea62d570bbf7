"""Turns downloaded weights into a bundle: estimates what that takes, and runs the process that does it.

The conversion belongs to `sigrl.training`, which this package does not import. It runs as a process of its
own, which also returns all its memory at its end.
"""

import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from sigrl.service.errors import ConversionError, StorageFullError
from sigrl.service.hub.catalogue import Model

NEEDED = ("torch", "open_clip", "onnx", "onnxscript", "onnxruntime")
"""Packages that a conversion imports; an installation that only serves may lack them."""
_MEMORY_FACTOR, _MEMORY_BYTES = 3.6, 700 * 10**6
"""Peak memory of a conversion: this many times the weights in float32, plus a constant. Measured: 2.8 GB for
a ViT-B/16."""
_SECONDS_PER_GIGABYTE, _SECONDS = 60, 60
"""Time of a conversion on two cores: for each gigabyte of weights in float32, and for imports and tracing."""
_LINK_BYTES_PER_SECOND = 50e6 / 8


@dataclass(frozen=True)
class Needs:
    """What a model will take; an estimate, except for `download`."""

    download: int
    """Bytes to download."""
    disk: int
    """Bytes on the disk at most, the download included; the bundle remains."""
    memory: int
    """Bytes of memory at most, during the conversion."""
    minutes: float
    """Minutes in all, with 50 Mbit/s and two processor cores, without a calibration."""


def needs(model: Model, download: int) -> Needs:
    """What `model` will take if `download` bytes have to be downloaded."""
    seconds = _SECONDS + _SECONDS_PER_GIGABYTE * model.full_bytes / 1e9 + download / _LINK_BYTES_PER_SECOND
    return Needs(
        download=download,
        # A bundle is copied with its calibration, and then with its graphs.
        disk=download + 2 * model.bundle_bytes,
        memory=round(_MEMORY_FACTOR * model.full_bytes) + _MEMORY_BYTES,
        minutes=seconds / 60,
    )


def check_room(folder: Path, needed: Needs) -> None:
    """Raises StorageFullError if the disk of the existing `folder` has no room."""
    free = shutil.disk_usage(folder).free
    if free < needed.disk:
        raise StorageFullError(
            f"{folder} has {free / 1e9:.1f} GB free, but {needed.disk / 1e9:.1f} GB are needed",
            "free some space, or set SIGRL_DATA to a folder on a larger disk",
        )


def check_packages() -> None:
    """Raises ConversionError if this installation cannot convert."""
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise ConversionError(
            f"this installation lacks {', '.join(missing)}, which a conversion needs",
            "pip install 'sigrl-tagger[export,onnx]', or get the model elsewhere and copy its bundle here",
        )


def convert(model: Model, weights: Path, bundle: Path, photographs: Path | None) -> None:
    """Writes the bundle of a model whose weights lie in a file that is named after the model's tag, with the
    tokenizer beside it. It has graphs if the model gets any, and is calibrated if there is a folder of
    photographs. Progress goes to the terminal. Raises ConversionError."""
    options = ["--open-clip", f"{model.architecture}/{weights}", "--output", str(bundle)]
    if not model.gets_graphs:
        options.append("--no-graphs")
    if photographs is not None:
        options += ["--photographs", str(photographs)]
    _run(["import", *options])


def _run(arguments: Sequence[str]) -> None:
    program = "from sigrl.training.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], stderr=subprocess.PIPE, text=True, check=False
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"it ended with status {done.returncode}"]
        raise ConversionError(
            f"the weights were not converted: {lines[-1].removeprefix('sigrl-train: ')}",
            "the download is kept: the same command continues from there",
        )
