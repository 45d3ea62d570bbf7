"""SVFR's attentions on a GPU: fused forward passes, and gradients without a stored attention.

Imports triton, which torch's CUDA wheels bring along: import this only where a GPU is to be used.
"""

from typing import Any

import torch
from torch import Tensor

from model.kernels import triton_launch
from model.kernels.attention_gradients import AttentionGradients, decoupling_gradients, gate_gradients


class TritonSteps:
    """`model.svfr.Steps` in fused kernels, with gradients; results are float32.

    Takes float32 or bfloat16 tensors on a CUDA device, D a multiple of 16, at most 1024 patches. Memory
    besides inputs and results does not grow with the number of labels. Equal inputs give equal results.
    """

    def __init__(self, dtype: torch.dtype = torch.bfloat16) -> None:
        """`dtype` of the operands of matrix products, the sums being float32 always. With float32 the results
        are those of `model.svfr.StreamedSteps`, far slower: to check against."""
        self._dtype = dtype

    def decouple(self, patch_tokens: Tensor, label_embeddings: Tensor, weight: Tensor) -> Tensor:
        """As `model.svfr.semantic_decoupling`. Raises ValueError for what the class does not take."""
        return _apply(_Decoupling, patch_tokens, label_embeddings, weight, self._dtype)

    def gate(self, patch_tokens: Tensor, label_queries: Tensor, weight: Tensor) -> Tensor:
        """As `model.svfr.label_gate`. Raises ValueError for what the class does not take."""
        return _apply(_Gate, patch_tokens, label_queries, weight, self._dtype)


class _Decoupling(torch.autograd.Function):
    @staticmethod
    def forward(
        context: Any, patch_tokens: Tensor, label_embeddings: Tensor, weight: Tensor, dtype: torch.dtype
    ) -> Tensor:
        context.save_for_backward(patch_tokens, label_embeddings, weight)
        context.dtype = dtype
        return triton_launch.decouple(patch_tokens, label_embeddings, weight, dtype)

    @staticmethod
    def backward(context: Any, cotangent: Tensor) -> tuple[Tensor | None, ...]:
        tokens, labels, weight = inputs = context.saved_tensors
        return _returned(inputs, decoupling_gradients(tokens, labels, weight, cotangent, context.dtype))


class _Gate(torch.autograd.Function):
    @staticmethod
    def forward(
        context: Any, patch_tokens: Tensor, label_queries: Tensor, weight: Tensor, dtype: torch.dtype
    ) -> Tensor:
        context.save_for_backward(patch_tokens, label_queries, weight)
        context.dtype = dtype
        return triton_launch.label_gate(patch_tokens, label_queries, weight, dtype)

    @staticmethod
    def backward(context: Any, cotangent: Tensor) -> tuple[Tensor | None, ...]:
        tokens, queries, weight = inputs = context.saved_tensors
        return _returned(inputs, gate_gradients(tokens, queries, weight, cotangent, context.dtype))


def _apply(function: type[torch.autograd.Function], *arguments: Tensor | torch.dtype) -> Tensor:
    result: Tensor = function.apply(*arguments)  # type: ignore[no-untyped-call]
    return result


def _returned(inputs: tuple[Tensor, ...], gradients: AttentionGradients) -> tuple[Tensor | None, ...]:
    """One gradient for each argument of `forward`, `dtype` being the last, in the dtype of its input."""
    return *(gradient.to(given.dtype) for given, gradient in zip(inputs, gradients, strict=True)), None
