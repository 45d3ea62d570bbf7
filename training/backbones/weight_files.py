"""Weight files of others, opened as tensors and nothing else: what would run code is refused."""

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
    """A state dict, alone or as an entry of a training state, on the CPU; a `module.` prefix (of
    data-parallel training) is dropped.

    Raises WeightsError when the file is absent, damaged, or holds anything but tensors and plain data.
    """
    try:
        if file.suffix == ".safetensors":
            content: Any = load_file(file)
        else:
            with warnings.catch_warnings():
                # It warns of an archive that it then refuses, which is said below.
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
        raise WeightsError(f"{file} is no state dict: save `model.state_dict()` alone where it was trained")
    return {name.removeprefix("module."): tensor for name, tensor in content.items()}


def _why_refused(error: str) -> str:
    if "TorchScript" in error:
        return (
            "is a TorchScript archive, a program, and is not opened: fetch the same weights as .safetensors"
        )
    if unsafe := re.search(r"GLOBAL (\S+)", error):
        return (
            f"holds more than tensors ({unsafe[1]}), which can run code, and is not opened: where you trust "
            "it, save its state dict alone"
        )
    return f"holds no weights that can be read ({error.strip().partition(chr(10))[0]}): fetch it again"
