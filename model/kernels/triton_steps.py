"""SVFR's attentions on a GPU: fused forward passes, and gradients without a stored attention.

Imports triton, which torch's CUDA wheels bring along: import this only where a GPU is to be used.
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
    """`sigrl.model.svfr.Steps` in fused kernels, with gradients; results are float32.

    Takes float32 or bfloat16 tensors on a CUDA device, D a multiple of 16, at most 1024 patches. Memory
    besides inputs and results does not grow with the number of labels. Equal inputs give equal results.
    """

    def __init__(self, dtype: torch.dtype = torch.bfloat16) -> None:
        """`dtype` of the operands of matrix products, the sums being float32 always. With float32 the results
        are those of `sigrl.model.svfr.StreamedSteps`, far slower: to check against."""
        self._dtype = dtype

    def decouple(self, patch_tokens: Tensor, label_embeddings: Tensor, weight: Tensor) -> Tensor:
        """As `sigrl.model.svfr.semantic_decoupling`. Raises ValueError for what the class does not take."""
        return _apply(
            triton_launch.decouple,
            decoupling_gradients,
            patch_tokens,
            label_embeddings,
            weight,
            self._dtype,
        )

    def gate(self, patch_tokens: Tensor, label_queries: Tensor, weight: Tensor) -> Tensor:
        """As `sigrl.model.svfr.label_gate`. Raises ValueError for what the class does not take."""
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
