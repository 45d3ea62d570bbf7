"""Reads weight files that others published as tensors only: files that could run code are refused."""

import pickle
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from sigrl.training.data.dataset import DataError


class WeightsError(DataError):
    """Weights that cannot be imported; the message says what is wrong and what to do."""


def read_tensors(file: Path) -> dict[str, Tensor]:
    """Reads a state dict onto the CPU, whether it is the whole file or an entry of a training state. The
    prefix `module.` (from data-parallel training) is removed.

    Raises WeightsError when the file is missing, damaged, or contains anything but tensors and plain data.
    """
    try:
        if file.suffix == ".safetensors":
            content: Any = load_file(file)
        else:
            with warnings.catch_warnings():
                # torch warns about an archive that it then refuses; our error says so below.
                warnings.filterwarnings("ignore", message=".*TorchScript")
                content = torch.load(file, map_location="cpu", weights_only=True)
    except OSError as error:
        raise WeightsError(f"{file} cannot be read ({error.strerror or error}): name another file") from error
    except (pickle.UnpicklingError, SafetensorError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise WeightsError(f"{file} {_why_refused(str(error))}") from error
    for entry in ("state_dict", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(entry), Mapping):
            content = content[entry]
    if not isinstance(content, Mapping) or not all(isinstance(one, Tensor) for one in content.values()):
        raise WeightsError(
            f"{file} is not a state dict: save `model.state_dict()` alone where it was trained"
        )
    return {name.removeprefix("module."): tensor for name, tensor in content.items()}


def _why_refused(error: str) -> str:
    if "TorchScript" in error:
        return (
            "is a TorchScript archive, which is a program, and is not opened: get the same weights as a "
            ".safetensors file"
        )
    if unsafe := re.search(r"GLOBAL (\S+)", error):
        return (
            f"contains more than tensors ({unsafe[1]}), which can run code, and is not opened: if you trust "
            "it, save its state dict alone"
        )
    return f"contains no readable weights ({error.strip().partition(chr(10))[0]}): download it again"
