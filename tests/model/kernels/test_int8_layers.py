"""Linear layers and attentions in int8 against what they take the place of."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from sigrl.model.kernels import int8_layers as layers
from sigrl.model.kernels.int8_layers import Int8Attention, Int8Linear, _quantize

B, N, D, WIDE = 3, 17, 128, 256

pytestmark = pytest.mark.skipif(
    not layers.multiplies_in_int8(), reason="this processor multiplies in no int8"
)


@pytest.fixture(autouse=True)
def _no_gradients():
    with torch.inference_mode():
        yield


@pytest.fixture
def linear():
    return nn.Linear(D, WIDE).bfloat16()


def int8(linear):
    return Int8Linear(linear.weight, linear.bias, _quantize)


def assert_near(ours, expected, rounding):
    assert ours.dtype == torch.bfloat16
    error = (ours.float() - expected).norm() / expected.norm()
    assert error < rounding


@pytest.mark.parametrize("shape", [(1, D), (N, D), (B, N, D)])
@pytest.mark.parametrize("bias", [True, False])
def test_int8_linear_output_is_close_to_float32(shape, bias):
    linear = nn.Linear(D, WIDE, bias=bias).bfloat16()
    values = torch.randn(shape).bfloat16()
    ours = int8(linear)(values)
    assert_near(ours, linear.float()(values.float()), 0.02)


def test_row_output_does_not_depend_on_other_rows(linear):
    values = torch.randn(N, D).bfloat16()
    layer = int8(linear)
    alone = layer(values[3:4])
    values[5] *= 1e4
    torch.testing.assert_close(layer(values)[3:4], alone, rtol=0, atol=0)


def test_rows_of_any_magnitude_keep_their_precision():
    sizes = torch.tensor([1e-6, 1, 1e6])[:, None]
    values = (torch.randn(1, D) * sizes).bfloat16()
    bare = nn.Linear(D, WIDE, bias=False).bfloat16()
    ours, expected = int8(bare)(values), bare.float()(values.float())
    assert functional.cosine_similarity(ours.float(), expected).min() > 0.999
    assert_near(ours[:1], expected[:1], 0.02)


def test_zero_row_returns_the_bias(linear):
    ours = int8(linear)(torch.zeros(2, D).bfloat16())
    torch.testing.assert_close(ours, linear.bias.expand(2, -1))


def test_quantizing_the_largest_values_does_not_overflow():
    values = torch.cat([torch.full((1, D), 3.7), torch.full((1, D), -3.7), torch.rand(200, D) * 9])
    rows, scales = _quantize(values.bfloat16())
    back = (rows.float() - layers.ZERO_POINT) * scales.float()
    assert ((back - values.bfloat16().float()).abs() <= 0.51 * scales.float()).all()


def test_int8_attention_output_is_close_to_float32():
    attention = nn.MultiheadAttention(D, 4, batch_first=True).eval().bfloat16()
    tokens = (2 * torch.randn(B, N, D)).bfloat16()
    ours, none = Int8Attention(attention, _quantize)(tokens, tokens, tokens, need_weights=False)
    precise = tokens.float()
    expected, _ = attention.float()(precise, precise, precise, need_weights=False)
    assert none is None
    assert_near(ours, expected, 0.03)


def test_compiled_and_eager_int8_layers_agree(linear):
    tower = nn.Sequential(linear, nn.GELU(), nn.Linear(WIDE, D).bfloat16())
    (_, _, eager), *_ = layers.int8_layers(tower, compiled=False)
    (_, _, compiled), *_ = layers.int8_layers(tower, compiled=True)
    for rows in (1, N):
        values = torch.randn(rows, D).bfloat16()
        assert_near(compiled(values), eager(values).float(), 0.01)


def test_int8_layers_selects_wide_linear_layers_and_whole_attentions():
    tower = nn.ModuleDict(
        {
            "wide": nn.Linear(D, WIDE),
            "narrow": nn.Linear(2, WIDE),
            "attention": nn.MultiheadAttention(D, 4, batch_first=True),
            "tokens_last": nn.MultiheadAttention(D, 4),
            "of_two_kinds": nn.MultiheadAttention(D, 4, kdim=WIDE, batch_first=True),
            "convolution": nn.Conv2d(D, D, 1),
        }
    )
    named = {name: type(new) for _, name, new in layers.int8_layers(tower, compiled=False)}
    assert named == {"wide": Int8Linear, "attention": Int8Attention}
