"""SVFR's attentions on a CPU, for inference: low precision, in chunks that stay in the caches.

A chunk is some labels of one photograph. It passes through three stages: the match (tanh of tokens times
labels), the matrix product, and a reduction that includes the softmax over patches. Between stages a chunk
stays in the caches; when compiled, a stage is one loop over it.
"""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from sigrl.model.blocks import even_slices
from sigrl.model.storage import INT8_RANGE, quantize_rows

Precision = Literal["float32", "bfloat16", "int8"]

CHUNK_ELEMENTS = 2**20
"""P * D times the labels of one chunk: operand and logits of that size share the caches with the weight."""

SAFE_LOGIT = 60.0
"""exp(60) times any number of patches is finite in float32, and exp(-60) is not denormal."""


class CpuSteps:
    """`sigrl.model.svfr.Steps` without gradients. Inputs and results are float32, products use `precision`.

    In `bfloat16`, operands and logits are rounded to 8 bits and sums are float32. In `int8`, operands have
    steps of 1/127, weights a scale per row, and logits are exact sums of the two.
    """

    def __init__(self, precision: Precision, *, compiled: bool) -> None:
        """`compiled` fuses each stage with torch.compile; the first call then takes some seconds and needs a
        C++ compiler."""
        self.precision = precision
        self._match: Callable[[Tensor, Tensor], Tensor] = _MATCH[precision]
        self._average: Callable[[Tensor, Tensor, Tensor | None, bool], Tensor] = _average
        self._attention: Callable[[Tensor, Tensor | None, bool], Tensor] = _attention
        if compiled:
            self._match = torch.compile(_COMPILED_MATCH[precision])
            self._average = torch.compile(_average)
            self._attention = torch.compile(_attention)

    def decouple(self, patch_tokens: Tensor, label_embeddings: Tensor, weight: Tensor) -> Tensor:
        """As `sigrl.model.svfr.semantic_decoupling`."""
        product = _Product(weight, self.precision)
        chunks = _chunks(len(label_embeddings), patch_tokens)
        decoupled = patch_tokens.new_empty(len(patch_tokens), *label_embeddings.shape)
        for tokens, rows in zip(patch_tokens, decoupled, strict=True):
            for chunk in chunks:
                logits = product(self._match(tokens, label_embeddings[chunk]))
                rows[chunk] = self._average(logits, tokens, product.scale, product.may_overflow)
        return decoupled

    def gate(self, patch_tokens: Tensor, label_queries: Tensor, weight: Tensor) -> Tensor:
        """As `sigrl.model.svfr.label_gate`."""
        product = _Product(weight, self.precision)
        chunks = _chunks(label_queries.shape[1], patch_tokens)
        gate = torch.zeros_like(patch_tokens)
        for tokens, queries, sums in zip(patch_tokens, label_queries, gate, strict=True):
            for chunk in chunks:
                logits = product(self._match(tokens, queries[chunk]))
                sums += self._attention(logits, product.scale, product.may_overflow)
        return gate


class _Product:
    """The matrix product of chunks with one weight, prepared for a precision."""

    def __init__(self, weight: Tensor, precision: Precision) -> None:
        # Because |tanh| <= 1, no logit exceeds the sum of its row of the weight.
        self.may_overflow = bool(weight.abs().sum(1).max() > SAFE_LOGIT)
        self.scale: Tensor | None = None
        self._weight = weight.bfloat16() if precision == "bfloat16" else weight
        if precision == "int8":
            rows, row_scale = quantize_rows(weight)
            self._weight = rows.t()
            # tanh is in -1..1, so one fixed scale serves every operand.
            self.scale = row_scale / INT8_RANGE

    def __call__(self, matched: Tensor) -> Tensor:
        """Operands [n, P, D] -> logits [n, P, D]; with `scale`, integers to be multiplied by it."""
        if self.scale is None:
            return functional.linear(matched, self._weight)
        return torch._int_mm(matched.flatten(0, 1), self._weight).view(matched.shape)


def _chunks(label_count: int, patch_tokens: Tensor) -> list[slice]:
    return even_slices(label_count, CHUNK_ELEMENTS // patch_tokens[0].numel())


def _match_float32(tokens: Tensor, labels: Tensor) -> Tensor:
    """tanh(X_p * Z_c): [P, D], [n, D] -> [n, P, D]."""
    return torch.mul(tokens, labels[:, None]).tanh_()


def _match_bfloat16(tokens: Tensor, labels: Tensor) -> Tensor:
    return torch.mul(tokens, labels[:, None]).bfloat16().tanh_()


def _match_int8(tokens: Tensor, labels: Tensor) -> Tensor:
    return _match_bfloat16(tokens, labels).mul_(INT8_RANGE).round_().to(torch.int8)


def _rational_tanh(values: Tensor) -> Tensor:
    """Lambert's continued fraction, with an error of at most 1e-4: it compiles to a few instructions, while
    the library's tanh is a call."""
    values = values.clamp(-4.97, 4.97)
    square = values * values
    numerator = values * (135135 + square * (17325 + square * (378 + square)))
    return numerator / (135135 + square * (62370 + square * (3150 + square * 28)))


def _match_bfloat16_compiled(tokens: Tensor, labels: Tensor) -> Tensor:
    return _rational_tanh(tokens * labels[:, None]).bfloat16()


def _match_int8_compiled(tokens: Tensor, labels: Tensor) -> Tensor:
    return (_rational_tanh(tokens * labels[:, None]) * INT8_RANGE).round().to(torch.int8)


_MATCH = {"float32": _match_float32, "bfloat16": _match_bfloat16, "int8": _match_int8}
_COMPILED_MATCH = {
    "float32": _match_float32,
    "bfloat16": _match_bfloat16_compiled,
    "int8": _match_int8_compiled,
}


# These work in place on our own tensors, because a new tensor of some megabytes costs as much as the
# arithmetic.


def _exponentials(logits: Tensor, scale: Tensor | None, may_overflow: bool) -> Tensor:
    """exp of the logits up to a factor that cancels in the softmax over patches. Overwrites float32
    logits."""
    values = logits.float() if scale is None else logits * scale
    if may_overflow:
        values -= values.amax(1, keepdim=True)
    return values.exp_()


def _average(logits: Tensor, tokens: Tensor, scale: Tensor | None, may_overflow: bool) -> Tensor:
    """Tokens [P, D] averaged with the softmax over patches of logits [n, P, D] -> [n, D]."""
    exponentials = _exponentials(logits, scale, may_overflow)
    sums = exponentials.sum(1)
    return exponentials.mul_(tokens).sum(1).div_(sums)


def _attention(logits: Tensor, scale: Tensor | None, may_overflow: bool) -> Tensor:
    """The softmax over patches of logits [n, P, D], summed over labels -> [P, D]."""
    exponentials = _exponentials(logits, scale, may_overflow)
    return exponentials.mul_(1 / exponentials.sum(1, keepdim=True)).sum(0)
