"""What makes a model fast leaves its answers as they are."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.functional import cosine_similarity

from sigrl.model import acceleration
from sigrl.model.acceleration import accelerate, choose_precision, fold_batch_norms, use_int8_layers
from sigrl.model.backbone import Backbone
from sigrl.model.config import BackboneConfig
from sigrl.model.kernels.cpu_steps import CpuSteps
from sigrl.model.kernels.int8_layers import Int8Attention, Int8Linear, multiplies_in_int8
from sigrl.model.matching import top_k_mean

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
def test_auto_precision_follows_cpu_capabilities_unless_set_explicitly(monkeypatch, capabilities, expected):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert choose_precision("auto", CPU) == expected
    for named in ("float32", "bfloat16", "int8"):
        assert choose_precision(named, CPU) == named


def test_int8_is_rejected_on_a_gpu():
    with pytest.raises(ValueError, match="use bfloat16"):
        choose_precision("int8", torch.device("cuda"))


def test_compiled_mode_without_a_compiler_is_rejected(model, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(ValueError, match="no-such-compiler is not installed"):
        accelerate(model, 64, CPU, "float32", compiled=True)


def test_folding_removes_batch_norms_and_keeps_outputs(model):
    pixels = torch.randn(2, 3, 64, 64)
    expected = model.backbone.encode_images(pixels)
    fold_batch_norms(model.backbone, 64)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in model.backbone.visual.modules())
    ours = model.backbone.encode_images(pixels)
    torch.testing.assert_close(ours.image_embeddings, expected.image_embeddings, rtol=0, atol=1e-5)
    torch.testing.assert_close(ours.patch_tokens, expected.patch_tokens, rtol=0, atol=1e-5)


def test_folding_that_would_change_outputs_is_not_applied(model, monkeypatch):
    pixels = torch.randn(2, 3, 64, 64)
    expected = model.backbone.encode_images(pixels)
    monkeypatch.setattr(acceleration, "_without_normalisation", lambda _: nn.Tanh())
    fold_batch_norms(model.backbone, 64)
    torch.testing.assert_close(model.backbone.encode_images(pixels).patch_tokens, expected.patch_tokens)


VIT = {"image_size": 64, "patch_size": 16, "width": 128, "head_width": 32, "layers": 2}
TIMM_VIT = {"timm_model_name": "vit_tiny_patch16_224", "timm_pool": "token", "image_size": 224}
REACHES_IN = TIMM_VIT | {"timm_model_name": "beit_base_patch16_224"}
needs_int8 = pytest.mark.skipif(not multiplies_in_int8(), reason="this processor multiplies in no int8")


def backbone_of(vision):
    text = {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 1}
    backbone = Backbone(BackboneConfig(embed_dim=24, vision=vision, text=text)).eval().requires_grad_(False)
    backbone.visual.bfloat16()
    return backbone


def int8_modules(backbone):
    return [module for module in backbone.modules() if isinstance(module, (Int8Attention, Int8Linear))]


@needs_int8
@pytest.mark.parametrize(("vision", "expected"), [(VIT, 2 * (3 + 2)), (TIMM_VIT, 12 * 4)])
def test_int8_layers_in_a_vit_keep_its_outputs_close(vision, expected):
    backbone = backbone_of(vision)
    side = vision["image_size"]
    pixels = torch.randn(2, 3, side, side).bfloat16()
    before = backbone.encode_images(pixels)
    use_int8_layers(backbone, side, compiled=False)
    assert len(int8_modules(backbone)) == expected
    ours = backbone.encode_images(pixels)
    for name in ("image_embeddings", "patch_tokens"):
        cosine = cosine_similarity(getattr(ours, name).float(), getattr(before, name).float(), dim=-1)
        assert cosine.min() > 0.998


@needs_int8
def test_tower_that_accesses_layer_weights_is_not_converted_to_int8():
    backbone = backbone_of(REACHES_IN)
    pixels = torch.randn(1, 3, 224, 224).bfloat16()
    before = backbone.encode_images(pixels)
    use_int8_layers(backbone, 224, compiled=False)
    assert not int8_modules(backbone)
    torch.testing.assert_close(backbone.encode_images(pixels).patch_tokens, before.patch_tokens)


@needs_int8
def test_int8_layers_that_would_change_outputs_are_not_used(monkeypatch):
    backbone = backbone_of(VIT)
    wrong = [(backbone.visual.transformer.resblocks[0].mlp, "c_proj", nn.Linear(512, 128).bfloat16())]
    monkeypatch.setattr(acceleration, "int8_layers", lambda *_, **__: wrong)
    nn.init.normal_(wrong[0][2].weight)
    use_int8_layers(backbone, 64, compiled=False)
    assert backbone.visual.transformer.resblocks[0].mlp.c_proj is not wrong[0][2]


def test_tower_stays_in_bfloat16_without_int8_cpu_instructions(monkeypatch, model):
    monkeypatch.setattr(acceleration, "multiplies_in_int8", lambda: False)
    monkeypatch.setattr(acceleration, "use_int8_layers", None)
    accelerate(model, 64, CPU, "int8", compiled=False)


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "int8"])
def test_only_image_tower_and_svfr_use_reduced_precision(model, precision):
    accelerate(model, 64, CPU, precision, compiled=False)
    tower = torch.float32 if precision == "float32" else torch.bfloat16
    assert {tensor.dtype for tensor in model.backbone.visual.parameters()} == {tower}
    others = [*model.backbone.text.parameters(), *model.head.parameters()]
    assert {tensor.dtype for tensor in others} == {torch.float32}
    assert isinstance(model.head.svfr.steps, CpuSteps)
    assert model.head.svfr.steps.precision == precision


@pytest.mark.parametrize("k", [1, 4, 9])
def test_accelerated_top_k_mean_matches_the_reference(model, k):
    accelerate(model, 64, CPU, "float32", compiled=False)
    scores = torch.randn(2, 9, 5)
    torch.testing.assert_close(model.head.top_k_mean(scores, k), top_k_mean(scores, k))
    torch.testing.assert_close(model.head.top_k_mean(scores.mT, 5), top_k_mean(scores.mT, 5))
