"""A transformer's linear layers in int8 on a CPU, for inference.

Every input row has its own scale, so that a photograph's result does not depend on the rest of its batch.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from sigrl.model.storage import INT8_RANGE, quantize_rows

ZERO_POINT = 128
"""Inputs are made unsigned, because processors multiply unsigned by signed int8."""

SCALE_PER_MAXIMUM = 1.004 / INT8_RANGE
"""A row's scale relative to its largest value; after rounding to bfloat16 it must not be below a 127th."""

SMALLEST_SCALE = 1e-12
LEAST_WIDTH = 128
"""Narrower layers take no time, and their outputs are sensitive: the bias of a position, a gate."""

Quantize = Callable[[Tensor], tuple[Tensor, Tensor]]


def multiplies_in_int8() -> bool:
    """Whether this processor has int8 instructions (AVX512-VNNI, AMX)."""
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_vnni") or capabilities.get("amx_int8"))


def int8_layers(tower: nn.Module, *, compiled: bool) -> list[tuple[nn.Module, str, nn.Module]]:
    """(module, name of its child, replacement) for linear layers and attentions that can run in int8, with
    bfloat16 in between. `compiled` rounds inputs in one fused loop; the first call then takes some seconds
    and needs a C++ compiler."""
    quantize: Quantize = torch.compile(_quantize, dynamic=True) if compiled else _quantize
    return [
        (parent, name, replacement)
        for parent in tower.modules()
        for name, child in parent.named_children()
        if (replacement := _in_int8(child, quantize)) is not None
    ]


class Int8Linear(nn.Module):
    """`nn.Linear` with an int8 weight that has a scale per row: bfloat16 [..., K] -> [..., N]."""

    def __init__(self, weight: Tensor, bias: Tensor | None, quantize: Quantize) -> None:
        """Takes a weight [N, K] and a bias [N]."""
        super().__init__()
        weight = weight.detach().float()
        rows, self._scales = quantize_rows(weight)
        self._weight = torch.ops.onednn.qlinear_prepack(rows, None)
        self._zero_points = torch.zeros(len(weight), dtype=torch.int32)
        self._bias = (weight.new_zeros(len(weight)) if bias is None else bias.detach()).bfloat16()
        self._quantize = quantize

    def forward(self, values: Tensor) -> Tensor:
        rows, scales = self._quantize(values.flatten(0, -2))
        product = torch.ops.onednn.qlinear_pointwise(
            *(rows, 1.0, ZERO_POINT),
            *(self._weight, self._scales, self._zero_points),
            None,
            *(1.0, 0, torch.bfloat16),
            *("none", [], ""),
        )
        return torch.addcmul(self._bias, product, scales).view(*values.shape[:-1], -1)


class Int8Attention(nn.Module):
    """Unmasked self-attention of tokens [B, N, D] like `nn.MultiheadAttention`, as in an image tower."""

    def __init__(self, attention: nn.MultiheadAttention, quantize: Quantize) -> None:
        super().__init__()
        self._heads = attention.num_heads
        self.projection = Int8Linear(attention.in_proj_weight, attention.in_proj_bias, quantize)
        self.output = Int8Linear(attention.out_proj.weight, attention.out_proj.bias, quantize)

    def forward(self, tokens: Tensor, *_: object, **__: object) -> tuple[Tensor, None]:
        """Accepts the arguments of `nn.MultiheadAttention`: the same tokens three times, and options."""
        parts = self.projection(tokens).unflatten(2, (3, self._heads, -1)).permute(2, 0, 3, 1, 4)
        queries, keys, values = parts.unbind()
        # The library's fused function takes twice as long on a CPU for the few hundred tokens of an image.
        logits = queries * queries.shape[-1] ** -0.5 @ keys.mT
        averages = logits.softmax(-1) @ values
        return self.output(averages.transpose(1, 2).flatten(2)), None


def _quantize(rows: Tensor) -> tuple[Tensor, Tensor]:
    """bfloat16 [n, K] -> uint8 [n, K] around ZERO_POINT, and the scales [n, 1] (bfloat16)."""
    scales = (rows.abs().amax(-1, keepdim=True) * SCALE_PER_MAXIMUM).clamp_min(SMALLEST_SCALE)
    # Adding a half turns truncation into rounding.
    return (rows / scales.float() + (ZERO_POINT + 0.5)).to(torch.uint8), scales


def _in_int8(layer: nn.Module, quantize: Quantize) -> nn.Module | None:
    # Exact types only, because the output layer of an attention is a subclass that belongs to it.
    if type(layer) is nn.Linear and min(layer.in_features, layer.out_features) >= LEAST_WIDTH:
        return Int8Linear(layer.weight, layer.bias, quantize)
    if (
        type(layer) is nn.MultiheadAttention
        and layer.batch_first
        and layer.in_proj_weight is not None
        and layer.bias_k is None
        and not layer.add_zero_attn
        and layer.embed_dim >= LEAST_WIDTH
    ):
        return Int8Attention(layer, quantize)
    return None
