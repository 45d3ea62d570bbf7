"""What makes a model fast leaves its answers as they are."""

import copy

import pytest
import torch
from torch import nn

from model import acceleration
from model.acceleration import accelerate, choose_precision, fold_batch_norms
from model.heads import top_k_mean
from model.kernels.cpu_steps import CpuSteps

CPU = torch.device("cpu")


@pytest.fixture
def model(tiny_model):
    """A copy to change; with statistics that make normalisation matter."""
    model = copy.deepcopy(tiny_model)
    for module in model.backbone.visual.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    return model.requires_grad_(False)


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [
        ({"avx512_bf16": True, "amx_bf16": False}, "bfloat16"),
        ({"avx512_bf16": False, "amx_bf16": True}, "bfloat16"),
        ({"avx512_bf16": False, "amx_bf16": False}, "float32"),
        ({}, "float32"),
    ],
)
def test_precision_follows_the_processor_unless_it_is_named(monkeypatch, capabilities, expected):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert choose_precision("auto", CPU) == expected
    for named in ("float32", "bfloat16", "int8"):
        assert choose_precision(named, CPU) == named


def test_int8_is_refused_on_a_gpu():
    with pytest.raises(ValueError, match="use bfloat16"):
        choose_precision("int8", torch.device("cuda"))


def test_compiling_without_a_compiler_is_refused_at_once(model, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(ValueError, match="no-such-compiler is not here"):
        accelerate(model, 64, CPU, "float32", compiled=True)


def test_batch_norms_disappear_and_the_answer_stays(model):
    pixels = torch.randn(2, 3, 64, 64)
    expected = model.backbone.encode_images(pixels)
    fold_batch_norms(model.backbone, 64)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in model.backbone.visual.modules())
    ours = model.backbone.encode_images(pixels)
    torch.testing.assert_close(ours.image_embeddings, expected.image_embeddings, rtol=0, atol=1e-5)
    torch.testing.assert_close(ours.patch_tokens, expected.patch_tokens, rtol=0, atol=1e-5)


def test_a_tower_that_folding_would_change_is_left_as_it_was(model, monkeypatch):
    pixels = torch.randn(2, 3, 64, 64)
    expected = model.backbone.encode_images(pixels)
    monkeypatch.setattr(acceleration, "_without_normalisation", lambda _: nn.Tanh())
    fold_batch_norms(model.backbone, 64)
    torch.testing.assert_close(model.backbone.encode_images(pixels).patch_tokens, expected.patch_tokens)


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "int8"])
def test_only_the_image_tower_and_svfr_are_rounded(model, precision):
    accelerate(model, 64, CPU, precision, compiled=False)
    tower = torch.float32 if precision == "float32" else torch.bfloat16
    assert {tensor.dtype for tensor in model.backbone.visual.parameters()} == {tower}
    others = [*model.backbone.text.parameters(), *model.head.parameters()]
    assert {tensor.dtype for tensor in others} == {torch.float32}
    assert isinstance(model.head.svfr.steps, CpuSteps)
    assert model.head.svfr.steps.precision == precision


@pytest.mark.parametrize("k", [1, 4, 9])
def test_sorting_finds_the_best_patches_too(model, k):
    accelerate(model, 64, CPU, "float32", compiled=False)
    scores = torch.randn(2, 9, 5)
    torch.testing.assert_close(model.head.top_k_mean(scores, k), top_k_mean(scores, k))
    torch.testing.assert_close(model.head.top_k_mean(scores.mT, 5), top_k_mean(scores.mT, 5))
