"""SVFR's attentions in Triton against the readable form: on a GPU, or on a CPU in Triton's interpreter."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("triton", reason="Triton is for Linux on x86-64")

from sigrl.model.kernels import triton_launch
from sigrl.model.kernels.triton_steps import TritonSteps
from sigrl.model.svfr import SemanticFeatureReconstruction, StreamedSteps

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
ROUNDING = {torch.float32: 1e-5, torch.float16: 3e-3, torch.bfloat16: 2e-2}
SHAPES = [(2, 5, 3, 16), (1, 16, 8, 32), (3, 17, 9, 48), (1, 49, 20, 64), (2, 196, 10, 32)]
"""B, P, C, D: fewer and more than a block of each, with and without a remainder."""


def draw(batch: int, patches: int, labels: int, dim: int, dtype=torch.float32) -> list[torch.Tensor]:
    """Patch tokens, labels, queries, weight: no softmax is flat, none picks a single patch."""
    shapes = [(batch, patches, dim), (labels, dim), (batch, labels, dim), (dim, dim)]
    tokens, embeddings, queries, weight = (torch.randn(shape, dtype=dtype, device=DEVICE) for shape in shapes)
    return [tokens, embeddings, queries, weight * (4 / dim**0.5)]


def assert_near(ours, expected, rounding):
    assert ours.dtype == torch.float32
    expected = expected.float()
    torch.testing.assert_close(ours, expected, rtol=0, atol=rounding * expected.abs().max().item())


def both(steps, inputs) -> list[torch.Tensor]:
    tokens, labels, queries, weight = inputs
    return [steps.decouple(tokens, labels, weight), steps.gate(tokens, queries, weight)]


@pytest.mark.parametrize("dtype", ROUNDING, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_decouple_and_gate_match_the_reference_implementation(shape, dtype):
    inputs = draw(*shape)
    for ours, expected in zip(both(TritonSteps(dtype), inputs), both(StreamedSteps(), inputs), strict=True):
        assert_near(ours, expected, ROUNDING[dtype])


def test_accepts_strided_bfloat16_inputs():
    tokens, labels, queries, weight = draw(2, 17, 9, 32)
    given = [tokens.mT.contiguous().mT, labels.repeat(1, 2)[:, :32], queries[:, :1].expand(-1, 9, -1), weight]
    given = [tensor.bfloat16() for tensor in given]
    expected = both(StreamedSteps(), [tensor.float() for tensor in given])
    for ours, whole in zip(both(TritonSteps(), given), expected, strict=True):
        assert_near(ours, whole, ROUNDING[torch.bfloat16])


@pytest.mark.parametrize("multiprocessors", [1, 1000])
def test_result_does_not_depend_on_multiprocessor_count(multiprocessors, monkeypatch):
    inputs = draw(2, 20, 17, 64)
    expected = both(StreamedSteps(), inputs)
    device = triton_launch._device(inputs[0])._replace(multiprocessors=multiprocessors)
    monkeypatch.setattr(triton_launch, "_device", lambda _: device)
    for ours, whole in zip(both(TritonSteps(torch.float32), inputs), expected, strict=True):
        assert_near(ours, whole, ROUNDING[torch.float32])


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_svfr_with_triton_steps_matches_the_reference_implementation(reduction):
    tokens, labels, queries, _ = draw(2, 20, 11, 32)
    svfr = SemanticFeatureReconstruction(32).to(DEVICE)
    expected = svfr(tokens, labels, queries[0], reduction)
    svfr.steps = TritonSteps(torch.float32)
    assert_near(svfr(tokens, labels, queries[0], reduction), expected, 2e-5)


@pytest.mark.parametrize("one_label", [False, True], ids=["whole", "chunks"])
def test_gradients_match_the_reference_implementation(one_label, set_budget, monkeypatch):
    if one_label:
        set_budget(1)
        monkeypatch.setattr("sigrl.model.blocks.ACCELERATOR_BUDGET", 1)
    inputs = draw(2, 19, 9, 32, torch.float64)
    cotangents = [torch.randn_like(inputs[2]), torch.randn_like(inputs[0])]

    def gradients(steps, dtype):
        leaves = [tensor.to(dtype).requires_grad_() for tensor in inputs]
        outputs = both(steps, leaves)
        grads = [grad.to(result.dtype) for grad, result in zip(cotangents, outputs, strict=True)]
        decoupling = torch.autograd.grad(outputs[0], [leaves[0], leaves[1], leaves[3]], grads[0])
        return [*decoupling, *torch.autograd.grad(outputs[1], [leaves[0], leaves[2], leaves[3]], grads[1])]

    expected = gradients(StreamedSteps(), torch.float64)
    for ours, exact in zip(gradients(TritonSteps(torch.float32), torch.float32), expected, strict=True):
        assert_near(ours, exact, 1e-5)
    for ours, exact in zip(gradients(TritonSteps(), torch.float32), expected, strict=True):
        assert_near(ours, exact, 5e-2)
    assert {ours.dtype for ours in gradients(TritonSteps(), torch.bfloat16)} == {torch.bfloat16}


def test_large_logits_neither_overflow_nor_underflow():
    tokens, labels, queries, weight = draw(1, 21, 9, 32)
    inputs = [tokens, labels, queries, weight * 1e3]
    for ours, expected in zip(
        both(TritonSteps(torch.float32), inputs), both(StreamedSteps(), inputs), strict=True
    ):
        assert_near(ours, expected, 1e-3)


def test_equal_patches_get_equal_attention():
    tokens, labels, queries, weight = draw(2, 1, 9, 32)
    decoupled, gate = both(TritonSteps(), [tokens.expand(-1, 21, -1), labels, queries, weight])
    assert_near(decoupled, tokens.expand(-1, 9, -1), 1e-6)
    assert_near(gate, torch.full_like(gate, 9 / 21), 1e-6)


def test_repeated_calls_return_identical_results():
    inputs = draw(2, 33, 21, 32)
    for first, second in zip(both(TritonSteps(), inputs), both(TritonSteps(), inputs), strict=True):
        assert torch.equal(first, second)


@pytest.mark.parametrize("training", [False, True])
def test_peak_memory_does_not_grow_with_label_count(training, set_budget, allocations):
    batch, patches, label_count, dim = 1, 64, 150, 16
    tokens, labels, queries, weight = draw(batch, patches, label_count, dim)
    token_bytes, label_bytes = tokens.numel() * 4, queries.numel() * 4
    set_budget(2 * token_bytes)
    with allocations:
        for ours in both(TritonSteps(), [tokens.requires_grad_(training), labels, queries, weight]):
            if training:
                ours.sum().backward()
    assert allocations.peak <= 40 * token_bytes + 16 * label_bytes
    assert allocations.peak < label_count * token_bytes


@given(st.integers(1, triton_launch.MOST_PATCHES))
def test_pieces_cover_all_patches_with_little_padding(patch_count):
    pieces = triton_launch._pieces(patch_count)
    assert len(pieces) <= 3
    assert all(piece >= 16 and piece.bit_count() == 1 for piece in pieces)
    assert patch_count <= sum(pieces) < max(patch_count + 16, 1.25 * patch_count)


@pytest.mark.parametrize("shape", [(1, 1025, 2, 16), (1, 0, 2, 16), (1, 4, 2, 24)], ids=str)
def test_unsupported_shapes_are_rejected(shape):
    tokens, labels, queries, weight = draw(*shape)
    with pytest.raises(ValueError, match=r"use sigrl\.model"):
        TritonSteps().decouple(tokens, labels, weight)
    with pytest.raises(ValueError, match=r"use sigrl\.model"):
        TritonSteps().gate(tokens, queries, weight)


def test_cpu_tensors_are_rejected_outside_the_interpreter(monkeypatch):
    monkeypatch.setattr(triton_launch, "INTERPRETED", False)
    tokens, labels, _, weight = (tensor.cpu() for tensor in draw(1, 4, 2, 16))
    with pytest.raises(ValueError, match="CUDA device"):
        TritonSteps().decouple(tokens, labels, weight)


@pytest.mark.skipif(sys.platform != "linux", reason="the compiler comes with Triton's wheels for Linux")
def test_kernels_compile_for_gpus_that_are_not_installed(tmp_path):
    here = Path(__file__)
    environment = os.environ | {
        "TRITON_INTERPRET": "0",
        "TRITON_CACHE_DIR": str(tmp_path),
        "PYTHONPATH": str(here.parents[3]),
    }
    command = [sys.executable, here.with_name("compile_kernels.py")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    launches = [line.split() for line in done.stdout.splitlines()]
    assert [launch[:2] for launch in launches] == [
        [kernel, capability] for capability in ("90", "89") for kernel in ("decouple_kernel", "gate_kernel")
    ]
    for _, capability, shared_memory, hopper_products in launches:
        assert int(shared_memory) <= {"90": 227, "89": 99}[capability] * 1024
        assert (int(hopper_products) > 0) == (capability == "90")


@pytest.mark.skipif(DEVICE == "cpu", reason="needs a GPU")
@pytest.mark.parametrize("label_count", [80, 1006])
def test_gpu_results_at_full_size_are_within_bfloat16_rounding(label_count):
    inputs = draw(8, 196, label_count, 512)
    for ours, expected in zip(both(TritonSteps(), inputs), both(StreamedSteps(), inputs), strict=True):
        assert_near(ours, expected, ROUNDING[torch.bfloat16])
        assert (ours - expected).norm() <= 5e-3 * expected.norm()
