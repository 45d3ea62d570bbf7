"""Storage of a bundle's tensors: matrices in half or a quarter of their size, restored to float32."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

SCALE = ".scale"
INT8_RANGE = 127


def pack(tensors: Mapping[str, Tensor], quantize: Callable[[str, Tensor], bool]) -> dict[str, Tensor]:
    """Tensors in their stored form, on the CPU, each in its own memory.

    Matrices that `quantize` selects become int8 under their name, with a float32 scale per row under
    `<name>.scale`. Other floating tensors of two or more dimensions become float16. Vectors and scalars stay
    float32: they are a hundredth of the size, and values like running variances exceed float16's range.
    Integers are unchanged.

    Raises ValueError for values that are not finite or exceed float16's range.
    """
    packed: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        tensor = tensor.detach().cpu()
        if not tensor.is_floating_point():
            packed[name] = tensor.clone()
            continue
        if not tensor.isfinite().all():
            raise ValueError(f"`{name}` contains values that are not finite")
        if tensor.ndim == 2 and quantize(name, tensor):
            packed[name], packed[name + SCALE] = quantize_rows(tensor.float())
        elif tensor.ndim < 2:
            packed[name] = tensor.to(torch.float32, copy=True)
        else:
            packed[name] = tensor.to(torch.float16, copy=True).contiguous()
            if not packed[name].isfinite().all():
                raise ValueError(f"`{name}` contains values beyond the range of float16")
    return packed


def quantize_rows(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """A float32 matrix [N, K] as int8 [N, K] and a scale for each row [N] (float32)."""
    scale = matrix.abs().amax(dim=1) / INT8_RANGE
    rows = matrix / scale.clamp_min(torch.finfo(torch.float32).tiny)[:, None]
    return rows.round().clamp(-INT8_RANGE, INT8_RANGE).to(torch.int8), scale


def unpack(packed: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Restores the tensors that `pack` stored, with floating tensors in float32. Raises ValueError for a
    scale that does not fit."""
    tensors: dict[str, Tensor] = {}
    for name, tensor in packed.items():
        scale = packed.get(name + SCALE)
        if name.endswith(SCALE) and packed.get(name.removesuffix(SCALE), tensor).dtype == torch.int8:
            continue
        if tensor.dtype == torch.int8 and scale is not None:
            if tensor.ndim != 2 or scale.shape != tensor.shape[:1] or not scale.is_floating_point():
                raise ValueError(f"`{name}{SCALE}` is not one number for each row of `{name}`")
            tensors[name] = tensor.float() * scale.float()[:, None]
        else:
            tensors[name] = tensor.float() if tensor.is_floating_point() else tensor
    return tensors
