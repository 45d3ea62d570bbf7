"""SVFR's attentions on a GPU: fused forward passes, and gradients without a stored attention.

This imports triton, which comes with torch's CUDA wheels, so import it only if a GPU is used.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from sigrl.model.kernels import triton_launch
from sigrl.model.kernels.attention_gradients import (
    AttentionGradients,
    decoupling_gradients,
    gate_gradients,
)

Forward = Callable[[Tensor, Tensor, Tensor, torch.dtype], Tensor]
Gradients = Callable[[Tensor, Tensor, Tensor, Tensor, torch.dtype], AttentionGradients]


class TritonSteps:
    """`sigrl.model.svfr.Steps` as fused kernels, with gradients; results are float32.

    Takes float32 or bfloat16 tensors on a CUDA device, D a multiple of 16, and at most 1024 patches. Memory
    beside inputs and results does not grow with the number of labels. Results are deterministic.
    """

    def __init__(self, dtype: torch.dtype = torch.bfloat16) -> None:
        """`dtype` is that of the operands of matrix products; sums are always float32. With float32 the
        results equal those of `sigrl.model.svfr.StreamedSteps` but are far slower, for checking."""
        self._dtype = dtype

    def decouple(self, patch_tokens: Tensor, label_embeddings: Tensor, weight: Tensor) -> Tensor:
        """As `sigrl.model.svfr.semantic_decoupling`. Raises ValueError for unsupported inputs."""
        return _apply(
            triton_launch.decouple,
            decoupling_gradients,
            patch_tokens,
            label_embeddings,
            weight,
            self._dtype,
        )

    def gate(self, patch_tokens: Tensor, label_queries: Tensor, weight: Tensor) -> Tensor:
        """As `sigrl.model.svfr.label_gate`. Raises ValueError for unsupported inputs."""
        return _apply(
            triton_launch.label_gate, gate_gradients, patch_tokens, label_queries, weight, self._dtype
        )


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(
        context: Any,
        run: Forward,
        gradients: Gradients,
        patch_tokens: Tensor,
        labels: Tensor,
        weight: Tensor,
        dtype: torch.dtype,
    ) -> Tensor:
        context.save_for_backward(patch_tokens, labels, weight)
        context.gradients, context.dtype = gradients, dtype
        return run(patch_tokens, labels, weight, dtype)

    @staticmethod
    def backward(context: Any, cotangent: Tensor) -> tuple[Tensor | None, ...]:
        inputs = context.saved_tensors
        gradients = context.gradients(*inputs, cotangent, context.dtype)
        in_their_dtypes = (one.to(given.dtype) for given, one in zip(inputs, gradients, strict=True))
        return None, None, *in_their_dtypes, None


def _apply(run: Forward, gradients: Gradients, *arguments: Tensor | torch.dtype) -> Tensor:
    result: Tensor = _Attention.apply(run, gradients, *arguments)  # type: ignore[no-untyped-call]
    return result
