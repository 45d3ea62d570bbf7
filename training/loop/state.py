"""The state of a training run in one safetensors file, which is always complete.

Everything that is not a tensor is JSON in the file's header: one file needs one rename, so a kill at any
moment leaves either the old state or the new one. Nothing is pickled.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from sigrl.training.data.dataset import DataError

_KEY = "sigrl"


def write_state(path: Path, tensors: Mapping[str, Tensor], content: Mapping[str, Any]) -> None:
    """Writes tensors and JSON content to `path`, replacing the file that is there."""
    unfinished = path.with_suffix(".unfinished")
    contiguous = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
    save_file(contiguous, unfinished, metadata={_KEY: json.dumps(content)})
    _to_disk(unfinished)
    os.replace(unfinished, path)
    _to_disk(path.parent)


def read_state(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors (on the CPU) and content of a file that `write_state` wrote. Raises DataError for any other
    file."""
    try:
        with safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (safe_open is not a mapping)
            content = json.loads((file.metadata() or {})[_KEY])
    except (SafetensorError, KeyError, ValueError) as error:
        raise DataError(
            f"{path} is not the state of a training run ({error}): remove it, and the run starts again"
        ) from error
    return tensors, content


def trained_tensors(module: nn.Module) -> dict[str, Tensor]:
    """The tensors of `module` that training changes: parameters with gradients, and buffers.

    Frozen parameters are those of the bundle that the run starts from, and need not be written again.
    """
    frozen = {name for name, one in module.named_parameters(remove_duplicate=False) if not one.requires_grad}
    return {name: tensor for name, tensor in module.state_dict().items() if name not in frozen}


def load_trained_tensors(module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Loads the result of `trained_tensors`. Raises DataError if it is from another module."""
    expected = {name: tensor.shape for name, tensor in trained_tensors(module).items()}
    if expected != {name: tensor.shape for name, tensor in tensors.items()}:
        raise DataError("the saved weights do not fit this model: name another directory for the run")
    module.load_state_dict(tensors, strict=False)


def optimizer_tensors(optimizer: Optimizer) -> dict[str, Tensor]:
    """The moments, as `<number of the parameter>.<name>`."""
    state = optimizer.state_dict()["state"]
    return {f"{number}.{name}": tensor for number, one in state.items() for name, tensor in one.items()}


def load_optimizer_tensors(optimizer: Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Loads the result of `optimizer_tensors`; groups and rates of `optimizer` stay."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        number, name = key.split(".", 1)
        state.setdefault(int(number), {})[name] = tensor
    optimizer.load_state_dict(optimizer.state_dict() | {"state": state})


def _to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
