"""Gradients of SVFR's two attentions by formula, in chunks of labels, for training with a fused forward pass:
no graph is recorded, and only the inputs are kept between the passes."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from sigrl.model.blocks import block_slices


class AttentionGradients(NamedTuple):
    """Gradients with respect to the three inputs of an attention, float32, in their shapes."""

    patch_tokens: Tensor
    """[B, P, D]."""
    label_queries: Tensor
    """[B or 1, C, D]."""
    weight: Tensor
    """[D, D]."""


def decoupling_gradients(
    patch_tokens: Tensor, label_embeddings: Tensor, weight: Tensor, cotangent: Tensor, dtype: torch.dtype
) -> AttentionGradients:
    """The gradients of `sigrl.model.svfr.semantic_decoupling`, whose result has the gradient `cotangent` [B,
    C, D].

    Matrix products take operands of `dtype` and are summed in float32. `label_embeddings` and its gradient
    are [C, D]. Beside the inputs' own size, memory is that of a few tensors of one chunk of labels.
    """

    def of_attention(attention: Tensor, chunk: slice) -> tuple[Tensor, Tensor]:
        spread = cotangent[:, chunk, None].float()
        # A token is averaged as well as attended to.
        return spread * patch_tokens[:, None].float(), torch.sum(attention * spread, dim=1)

    gradients = _gradients(patch_tokens, label_embeddings[None], weight, of_attention, dtype)
    return gradients._replace(label_queries=gradients.label_queries[0])


def gate_gradients(
    patch_tokens: Tensor, label_queries: Tensor, weight: Tensor, cotangent: Tensor, dtype: torch.dtype
) -> AttentionGradients:
    """The gradients of `model.svfr.label_gate`, whose result has the gradient `cotangent` [B, P, D]; see
    above."""

    def of_attention(attention: Tensor, chunk: slice) -> tuple[Tensor, Tensor]:  # noqa: ARG001
        return cotangent[:, None].float(), torch.zeros((), device=cotangent.device)

    return _gradients(patch_tokens, label_queries, weight, of_attention, dtype)


def _gradients(
    patch_tokens: Tensor,
    label_queries: Tensor,
    weight: Tensor,
    of_attention: Callable[[Tensor, slice], tuple[Tensor, Tensor]],
    dtype: torch.dtype,
) -> AttentionGradients:
    """`of_attention` maps a chunk's attention [B, n, P, D] to its gradient [B, 1 or n, P, D] and to the part
    of the tokens' gradient that does not pass through it."""
    tokens, queries = patch_tokens.float(), label_queries.float()
    totals = AttentionGradients(
        torch.zeros_like(tokens),
        torch.zeros_like(queries),
        torch.zeros_like(weight, dtype=torch.float32),
    )
    for chunk in block_slices(queries.shape[1], tokens):
        spread_queries = queries[:, chunk, None]
        matched = torch.tanh(tokens[:, None] * spread_queries)
        operand = matched.to(dtype).flatten(0, 2)
        attention = _product(operand, weight.mT, dtype).view_as(matched).softmax(dim=2)
        of_logits, of_tokens = of_attention(attention, chunk)
        totals.patch_tokens.add_(of_tokens)
        # dL = A * (dA - sum over p of A * dA), from the softmax over patches.
        expected = torch.sum(attention * of_logits, dim=2, keepdim=True)
        of_logits = ((of_logits - expected) * attention).to(dtype).flatten(0, 2)
        del attention
        totals.weight.add_(_product(of_logits.mT, operand, dtype))
        # d(X * Z) = Wᵀ dL * (1 - tanh²).
        of_pairs = _product(of_logits, weight, dtype).view_as(matched)
        of_pairs.addcmul_(of_pairs * matched, matched, value=-1)
        totals.patch_tokens.add_(torch.sum(of_pairs * spread_queries, dim=1))
        of_queries = torch.sum(of_pairs * tokens[:, None], dim=2)
        totals.label_queries[:, chunk].add_(
            of_queries.sum_to_size(spread_queries.shape[0], *of_queries.shape[1:])
        )
    return totals


def _product(left: Tensor, right: Tensor, dtype: torch.dtype) -> Tensor:
    """Rounds the operands to `dtype`, but not the result: a logit of 10 in bfloat16 is off by up to 0.03."""
    left, right = left.to(dtype), right.to(dtype)
    if left.is_cuda and dtype != torch.float32:
        return torch.mm(left, right, out_dtype=torch.float32)
    return left.float() @ right.float()
