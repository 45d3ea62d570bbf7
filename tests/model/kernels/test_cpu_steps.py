"""SVFR's attentions on a CPU against the readable form: precisions, chunks, large weights, memory."""

import pytest
import torch

from sigrl.model.kernels import cpu_steps
from sigrl.model.kernels.cpu_steps import CpuSteps
from sigrl.model.svfr import SemanticFeatureReconstruction, StreamedSteps

B, P, C, D = 2, 49, 11, 64
ROUNDING = {"float32": 1e-6, "bfloat16": 0.01, "int8": 0.02}


@pytest.fixture
def inputs():
    """Patch tokens [B, P, D], labels [C, D], queries [B, C, D], weight [D, D]: no softmax is flat."""
    weight = torch.randn(D, D) / 4
    return torch.randn(B, P, D), torch.randn(C, D), torch.randn(B, C, D), weight


def assert_near(ours, expected, rounding):
    assert ours.dtype == torch.float32
    torch.testing.assert_close(ours, expected, rtol=0, atol=rounding * expected.abs().max().item())


@pytest.mark.parametrize("chunk", [2**20, 3 * P * D, 1])
@pytest.mark.parametrize("precision", ROUNDING)
@torch.no_grad()
def test_decouple_and_gate_match_the_reference_implementation(inputs, precision, chunk, monkeypatch):
    monkeypatch.setattr(cpu_steps, "CHUNK_ELEMENTS", chunk)
    tokens, labels, queries, weight = inputs
    steps, readable = CpuSteps(precision, compiled=False), StreamedSteps()
    for ours, expected in (
        (steps.decouple(tokens, labels, weight), readable.decouple(tokens, labels, weight)),
        (steps.gate(tokens, queries, weight), readable.gate(tokens, queries, weight)),
    ):
        assert_near(ours, expected, ROUNDING[precision])


@pytest.mark.parametrize("precision", ROUNDING)
@torch.no_grad()
def test_large_weights_do_not_overflow(inputs, precision):
    tokens, labels, queries, weight = inputs
    steps = CpuSteps(precision, compiled=False)
    decoupled = steps.decouple(tokens, 1000 * labels, 1000 * weight)
    assert decoupled.abs().max() <= tokens.abs().max() * 1.001
    assert_near(steps.gate(tokens, 1000 * queries, 1000 * weight).sum(1), torch.full((B, D), float(C)), 1e-3)


@pytest.mark.parametrize("precision", ROUNDING)
@torch.no_grad()
def test_zero_weight_averages_all_patches(inputs, precision):
    tokens, labels, _, weight = inputs
    decoupled = CpuSteps(precision, compiled=False).decouple(tokens, labels, 0 * weight)
    assert_near(decoupled, tokens.mean(1, keepdim=True).expand(-1, C, -1), 1e-5)


@pytest.mark.parametrize("precision", ROUNDING)
@torch.inference_mode()
def test_peak_memory_is_bounded_by_chunk_size_not_label_count(precision, monkeypatch, allocations):
    patches, embed_dim, label_count = 196, 32, 500
    monkeypatch.setattr(cpu_steps, "CHUNK_ELEMENTS", 4 * patches * embed_dim)
    chunk_bytes = 4 * 4 * patches * embed_dim
    svfr = SemanticFeatureReconstruction(embed_dim)
    svfr.steps = CpuSteps(precision, compiled=False)
    tokens, labels = torch.randn(2, patches, embed_dim), torch.randn(label_count, embed_dim)
    with allocations:
        svfr(tokens, labels, labels)
    label_bytes = 4 * 2 * label_count * embed_dim
    assert allocations.largest <= max(chunk_bytes, 2 * label_bytes)
    assert allocations.peak <= 8 * chunk_bytes + 16 * label_bytes
