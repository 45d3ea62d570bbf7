"""Launches the kernels in `model.kernels.triton_attention`: how the work is divided for a device.

The sizes follow from the compiler's report for an H100 (sm_90): at most 255 registers per thread, and none
spilled within a product. Other GPUs use the same sizes.
"""

import math
from functools import lru_cache
from typing import Any, NamedTuple

import torch
import triton
from torch import Tensor

from sigrl.model.kernels.triton_attention import decouple_kernel, gate_kernel

INTERPRETED: bool = triton.knobs.runtime.interpret
"""Whether TRITON_INTERPRET=1 was set before triton was imported; kernels then run on CPU tensors, slowly."""

LABELS, PATCHES = 8, 16
"""One block of a decoupling: 8 labels by 16 patches; 196 patches leave a remainder of only 12."""

MOST_PATCHES = 1024
"""A program of the gate holds all patches of a photograph."""

GATE_ELEMENTS = 128 * 208
"""Patches times columns that 8 warps hold twice in registers: a gate's logits of one label, and its sum."""

AMPLE_SHARED_MEMORY = 160 * 1024
"""Bytes that are enough for three blocks of 64 columns (A100, H100 and later), rather than two of 32."""


class _Device(NamedTuple):
    multiprocessors: int
    shared_memory: int


def _device(tensor: Tensor) -> _Device:
    if not tensor.is_cuda:
        return _Device(multiprocessors=1, shared_memory=AMPLE_SHARED_MEMORY)
    properties = torch.cuda.get_device_properties(tensor.device)
    shared_memory: int = properties.shared_memory_per_block_optin  # type: ignore[attr-defined]
    return _Device(properties.multi_processor_count, shared_memory)


class _Blocks(NamedTuple):
    """Parameters that a kernel is compiled for: columns of the result and of the product, and the launch."""

    block_e: int
    block_k: int
    num_warps: int
    num_stages: int


@lru_cache
def _decoupling_blocks(programs: int, dim: int, dtype: torch.dtype, device: _Device) -> _Blocks:
    """Block sizes for `programs` blocks of labels, counted over all photographs.

    A program's time is about proportional to its columns plus 128: 128 columns of a product take as long as
    tanh, which every block of columns computes again (16 per cycle, compared with 2048 multiplications of a
    product; within a program they do not overlap). Few labels need more, smaller programs.
    """
    widest = 256 if _may_be_large(dtype) else 32
    choices = [size for size in (256, 128, 64, 32, 16) if size <= widest and dim % size == 0]

    def cost(block_e: int) -> int:
        return math.ceil(programs * (dim // block_e) / device.multiprocessors) * (block_e + 128)

    block_e = min(choices, key=cost)
    block_k, stages = _product_blocks(dim, dtype, device)
    return _Blocks(block_e, block_k, num_warps=8 if block_e == 256 else 4, num_stages=stages)


@lru_cache
def _gate_blocks(patches: int, dim: int, dtype: torch.dtype, device: _Device) -> _Blocks:
    """Block sizes of a gate; `patches` is the sum of the pieces."""
    widest = min(256 if _may_be_large(dtype) else 32, GATE_ELEMENTS // patches)
    block_e = next(size for size in (256, 128, 64, 32, 16) if size <= widest and dim % size == 0)
    block_k, stages = _product_blocks(dim, dtype, device)
    if patches > 640:  # the pieces' tokens are in shared memory
        block_k, stages = min(block_k, 32), 2
    return _Blocks(block_e, block_k, num_warps=8 if block_e * patches > 4096 else 4, num_stages=stages)


def _product_blocks(dim: int, dtype: torch.dtype, device: _Device) -> tuple[int, int]:
    ample = device.shared_memory >= AMPLE_SHARED_MEMORY and _may_be_large(dtype)
    # The largest power of two that divides the dimension, up to the limit.
    return min(64 if ample else 32, dim & -dim), 3 if ample else 2


def _may_be_large(dtype: torch.dtype) -> bool:
    """Exact float32 products also keep their operands in registers; the interpreter has no registers."""
    return INTERPRETED or dtype != torch.float32


def _pieces(patch_count: int) -> tuple[int, ...]:
    """At most three powers of two, each at least 16, whose sum is slightly above the number of patches."""
    units = math.ceil(patch_count / 16)
    while units.bit_count() > 3:
        units += units & -units
    return tuple(16 << bit for bit in reversed(range(units.bit_length())) if units >> bit & 1)


@lru_cache
def _groups(tiles: int, label_count: int, multiprocessors: int) -> int:
    """Number of groups of labels of a gate, each a program for each of `tiles`: the fewest that balance the
    work. A program counts as one label more than it has, for its start and its part of the final sum."""
    most = max(1, min(label_count, 4 * multiprocessors // max(1, tiles)))

    def cost(groups: int) -> int:
        return math.ceil(tiles * groups / multiprocessors) * (math.ceil(label_count / groups) + 1)

    return min(range(1, most + 1), key=cost)


def _operands(dtype: torch.dtype, *tensors: Tensor) -> list[Tensor]:
    rounded = [tensor.to(dtype).contiguous() for tensor in tensors]
    # The interpreter multiplies the bits of bfloat16 as if they were integers.
    return [tensor.float() for tensor in rounded] if INTERPRETED and dtype == torch.bfloat16 else rounded


def _check(patch_tokens: Tensor) -> None:
    _, patches, dim = patch_tokens.shape
    if not patch_tokens.is_cuda and not INTERPRETED:
        raise ValueError(f"TritonSteps needs tensors on a CUDA device, these are on {patch_tokens.device}")
    if dim % 16 or not 0 < patches <= MOST_PATCHES:
        raise ValueError(
            f"TritonSteps takes 1 to {MOST_PATCHES} patches of a dimension that 16 divides, not {patches} of "
            f"{dim}: use sigrl.model.svfr.StreamedSteps for these"
        )


def decouple(patch_tokens: Tensor, label_embeddings: Tensor, weight: Tensor, dtype: torch.dtype) -> Tensor:
    """`model.svfr.semantic_decoupling` with operands of `dtype`, without gradients, float32. Raises
    ValueError."""
    _check(patch_tokens)
    batch, patches, dim = patch_tokens.shape
    label_blocks = math.ceil(len(label_embeddings) / LABELS)
    blocks = _decoupling_blocks(batch * label_blocks, dim, dtype, _device(patch_tokens))
    tokens, labels, operand_weight = _operands(dtype, patch_tokens, label_embeddings, weight)
    decoupled = patch_tokens.new_empty(batch, *label_embeddings.shape, dtype=torch.float32)
    with torch.cuda.device_of(patch_tokens):  # type: ignore[no-untyped-call]
        decouple_kernel[(label_blocks, dim // blocks.block_e, batch)](
            tokens,
            patch_tokens.contiguous(),
            labels,
            operand_weight,
            decoupled,
            patches,
            len(label_embeddings),
            dim=dim,
            block_p=PATCHES,
            block_c=LABELS,
            **_options(blocks, dtype),
        )
    return decoupled


def label_gate(patch_tokens: Tensor, label_queries: Tensor, weight: Tensor, dtype: torch.dtype) -> Tensor:
    """`model.svfr.label_gate` with operands of `dtype`, without gradients, float32. Raises ValueError."""
    _check(patch_tokens)
    batch, patches, dim = patch_tokens.shape
    label_count = label_queries.shape[1]
    pieces = _pieces(patches)
    device = _device(patch_tokens)
    blocks = _gate_blocks(sum(pieces), dim, dtype, device)
    column_blocks = dim // blocks.block_e
    groups = _groups(batch * column_blocks, label_count, device.multiprocessors)
    tokens, queries, operand_weight = _operands(dtype, patch_tokens, label_queries, weight)
    partial_gates = patch_tokens.new_empty(groups, *patch_tokens.shape, dtype=torch.float32)
    with torch.cuda.device_of(patch_tokens):  # type: ignore[no-untyped-call]
        gate_kernel[(groups, column_blocks, batch)](
            tokens,
            queries,
            operand_weight,
            partial_gates,
            patches,
            label_count,
            dim=dim,
            pieces=pieces,
            **_options(blocks, dtype),
        )
    return partial_gates.sum(0)


def _options(blocks: _Blocks, dtype: torch.dtype) -> dict[str, Any]:
    fast = dtype != torch.float32 and not INTERPRETED and torch.version.cuda is not None
    return {"fast": fast, "precision": "ieee", **blocks._asdict()}
