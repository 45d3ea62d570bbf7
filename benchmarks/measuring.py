"""Shared by all benchmarks: interleaved timing, memory measurement and Markdown tables."""

import ctypes
import gc
import statistics
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

Function = Callable[[], object]
Key = TypeVar("Key")


def interleaved(functions: Mapping[Key, Function], rounds: int) -> dict[Key, float]:
    """Median seconds of each function over `rounds` rounds, each of which runs every function once.

    Rounds are interleaved because a machine's speed changes from minute to minute. An extra round before the
    first warms up.
    """
    seconds: dict[Key, list[float]] = {name: [] for name in functions}
    for round_number in range(rounds + 1):
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            if round_number:
                seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def peak_extra_mebibytes(function: Function) -> float:
    """Peak resident memory of this process while `function` runs, above the level before it. Needs Linux with
    glibc."""
    gc.collect()
    # Memory that was freed but is still held by the allocator would hide what is needed now.
    ctypes.CDLL(None).malloc_trim(0)
    before = _resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    function()
    return max(0.0, _resident("VmHWM") - before)


class Allocations(TorchDispatchMode):
    """Counts the bytes of tensors that operators create in this context, including backward passes."""

    def __init__(self) -> None:
        super().__init__()
        self.largest = self.peak = self._live = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, function, _types, arguments=(), keywords=None):
        made = function(*arguments, **(keywords or {}))
        for leaf in tree_leaves(made):
            if isinstance(leaf, torch.Tensor):
                self._count(leaf.untyped_storage())
        return made

    def _count(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata
        if key in self._known:
            return
        self._known.add(key)
        size = storage.nbytes()
        self._live += size
        self.largest = max(self.largest, size)
        self.peak = max(self.peak, self._live)
        weakref.finalize(storage, self._forget, key, size)

    def _forget(self, key: int, size: int) -> None:
        self._known.discard(key)
        self._live -= size


class SavedBytes:
    """Counts the bytes that autograd keeps for the backward pass of computations in this context. Their
    results must stay alive until `total` is read."""

    def __init__(self, module: nn.Module) -> None:
        """The parameters and buffers of `module` are not counted, because they exist anyway."""
        self._storages = {tensor.untyped_storage()._cdata: 0 for tensor in module.state_dict().values()}
        self._hooks = torch.autograd.graph.saved_tensors_hooks(self._count, lambda tensor: tensor)

    def __enter__(self) -> "SavedBytes":
        self._hooks.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._hooks.__exit__(*error)

    @property
    def total(self) -> int:
        return sum(self._storages.values())

    def _count(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        self._storages.setdefault(storage._cdata, storage.nbytes())
        return tensor


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table whose first column is aligned left and the others right."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def mean_and_deviation(values: npt.ArrayLike, sign: Literal["", "+"] = "") -> str:
    """Mean and standard deviation of at least two runs; `sign` "+": as a difference."""
    return f"{np.mean(values):{sign}.1f} ± {np.std(values, ddof=1):.1f}"


def _resident(field: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(field)).split()[1]) / 1024
