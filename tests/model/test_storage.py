"""Tensors in storage: what is kept exactly, what loses how much, what is refused."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sigrl.model.storage import pack, unpack


def nothing(_name, _tensor):
    return False


def everything(_name, _tensor):
    return True


def test_pack_stores_each_kind_of_tensor_in_its_format():
    tensors = {
        "matrix": torch.randn(3, 4),
        "kernel": torch.randn(2, 2, 3, 3),
        "vector": torch.randn(5) * 1e6,
        "scalar": torch.tensor(0.1),
        "count": torch.tensor(7),
        "double": torch.randn(2, 2, dtype=torch.float64),
    }
    packed = pack(tensors, nothing)
    assert {name: tensor.dtype for name, tensor in packed.items()} == {
        "matrix": torch.float16,
        "kernel": torch.float16,
        "vector": torch.float32,
        "scalar": torch.float32,
        "count": torch.int64,
        "double": torch.float16,
    }
    unpacked = unpack(packed)
    assert {tensor.dtype for name, tensor in unpacked.items() if name != "count"} == {torch.float32}
    for name in ("vector", "scalar", "count"):
        assert torch.equal(unpacked[name], tensors[name])
    for name in ("matrix", "kernel"):
        torch.testing.assert_close(unpacked[name], tensors[name], rtol=2**-11, atol=2**-25)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 6), st.integers(1, 9), st.floats(-30, 30), st.integers(0, 99))
def test_int8_error_is_at_most_half_a_quantization_step(rows, columns, exponent, seed):
    generator = torch.Generator().manual_seed(seed)
    matrix = torch.randn(rows, columns, generator=generator) * 2.0**exponent
    matrix[0] = 0
    packed = pack({"m": matrix}, everything)
    assert packed["m"].dtype == torch.int8
    assert packed["m.scale"].shape == (rows,)
    error = (unpack(packed)["m"] - matrix).abs()
    assert (error <= matrix.abs().amax(1, keepdim=True) / 254 * 1.0001).all()


def test_packing_twice_loses_no_more_precision():
    once = unpack(pack({"m": torch.randn(20, 30), "n": torch.randn(3, 3)}, lambda name, _: name == "m"))
    twice = unpack(pack(once, lambda name, _: name == "m"))
    for name, tensor in once.items():
        torch.testing.assert_close(twice[name], tensor, rtol=1e-6, atol=0)


def test_only_matrices_become_int8():
    packed = pack({"v": torch.randn(3), "k": torch.randn(2, 2, 2)}, everything)
    assert sorted(packed) == ["k", "v"]


def test_packed_tensors_share_no_memory():
    tied = torch.randn(4)
    packed = pack({"a": tied, "b": tied}, nothing)
    assert packed["a"].data_ptr() != packed["b"].data_ptr()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1e5])
def test_non_finite_values_are_rejected(value):
    with pytest.raises(ValueError, match="`m` contains values"):
        pack({"m": torch.full((2, 2), value)}, nothing)


@pytest.mark.parametrize("scale", [torch.ones(2), torch.ones(3, 1), torch.ones(3, dtype=torch.int64)])
def test_int8_scale_of_wrong_shape_is_rejected(scale):
    with pytest.raises(ValueError, match="each row"):
        unpack({"m": torch.ones(3, 4, dtype=torch.int8), "m.scale": scale})


def test_scale_without_int8_tensor_is_kept_as_a_tensor():
    assert set(unpack({"m": torch.ones(2), "m.scale": torch.ones(2), "n.scale": torch.ones(2)})) == {
        "m",
        "m.scale",
        "n.scale",
    }
