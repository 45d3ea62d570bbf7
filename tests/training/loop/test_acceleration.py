"""Fused kernels and recomputed activations do not change the training step."""

import sys

import pytest
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from benchmarks.measuring import SavedBytes
from sigrl.model.backbone import Backbone
from sigrl.model.config import BackboneConfig, HeadConfig
from sigrl.model.heads import create_head
from sigrl.model.svfr import StreamedSteps
from sigrl.training.data.dataset import DataError
from sigrl.training.loop.acceleration import fit_to_device, training_steps
from sigrl.training.loop.schedules import WarmUpCosine
from sigrl.training.loop.step import Optimization
from sigrl.training.loop.task import LoopConfig
from sigrl.training.tasks.nuswide.task import OpenVocabularyModel, OpenVocabularyTask
from sigrl.training.tasks.nuswide.teacher import frozen_teacher

OPEN_CLIP = {"image_size": 32, "patch_size": 8, "width": 32, "layers": 4, "head_width": 16}
TIMM = {"timm_model_name": "test_vit", "image_size": 160}
CUDA = torch.device("cuda")
LABELS, DIM = 9, 32


def make_task(vision: dict, dropout: float = 0.3) -> OpenVocabularyTask:
    torch.manual_seed(0)
    text = {"width": 16, "heads": 1, "layers": 1}
    backbone = Backbone(BackboneConfig(embed_dim=DIM, vision=vision, text=text))
    head = create_head(HeadConfig(form="published", top_k=3), DIM, dropout)
    return OpenVocabularyTask(
        OpenVocabularyModel(backbone, head, torch.randn(LABELS, DIM)),
        frozen_teacher(backbone),
        WarmUpCosine(warm_up_epochs=0),
        train_data=[],
        frozen_layers=1,
    )


def batch(size: int) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(1)
    labels = torch.randint(0, 2, (3, LABELS), generator=random) * 2 - 1
    return torch.randn(3, 3, size, size, generator=random), labels


def steps_of(task: OpenVocabularyTask, **loop) -> tuple[list[Tensor], dict[str, Tensor]]:
    """Losses of two steps, and the gradients of the second."""
    optimization = Optimization(task, Accelerator(cpu=True), LoopConfig(**loop))
    inputs = batch(task.module.backbone.config.vision["image_size"])
    losses = [optimization.step([inputs], number, position=0.1)["loss"] for number in (1, 2)]
    named = task.module.named_parameters()
    return losses, {name: one.grad for name, one in named if one.grad is not None}


def kept(task: OpenVocabularyTask) -> int:
    """Bytes of a step's activations that are kept for the backward pass."""
    inputs = batch(task.module.backbone.config.vision["image_size"])
    with SavedBytes(task.module) as saved:
        _output = task.training_step(task.module, inputs)
    return saved.total


@pytest.mark.parametrize("vision", [OPEN_CLIP, TIMM], ids=["open_clip", "timm"])
def test_checkpointing_keeps_gradients_and_saves_memory(vision) -> None:
    plain, recomputing = make_task(vision), make_task(vision)
    losses, gradients = steps_of(plain)
    same_losses, same_gradients = steps_of(recomputing, checkpointing=True)
    assert same_losses == losses
    assert gradients.keys() == same_gradients.keys()
    assert all(torch.equal(same_gradients[name], one) for name, one in gradients.items())
    # The rest belongs to the head.
    assert kept(recomputing) < 0.6 * kept(plain)


def test_unsupported_activation_checkpointing_is_rejected() -> None:
    accelerator, loop = Accelerator(cpu=True), LoopConfig(checkpointing=True)
    with pytest.raises(DataError, match="only towers"):
        fit_to_device(nn.Linear(2, 2), accelerator, loop)
    vision = {"timm_model_name": "dla46_c", "image_size": 32}
    tower = Backbone(BackboneConfig(embed_dim=8, vision=vision, text={"width": 8, "heads": 1, "layers": 1}))
    with pytest.raises(DataError, match=r"not supported.*remove it"):
        fit_to_device(tower, accelerator, loop)


def test_fused_kernels_are_used_only_for_bfloat16_on_a_gpu() -> None:
    pytest.importorskip("triton", reason="Triton is for Linux on x86-64")
    assert type(training_steps(CUDA, "bfloat16", 512)).__name__ == "TritonSteps"
    for precision, dim in (("float32", 512), ("bfloat16", 24)):
        assert isinstance(training_steps(CUDA, precision, dim), StreamedSteps)


def test_cpu_with_bfloat16_support_uses_it_for_scoring_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """And trains in float32: only scores without gradients may be rounded."""
    chosen = "sigrl.training.loop.acceleration.choose_precision"
    monkeypatch.setattr(chosen, lambda *_: "float32")
    assert isinstance(training_steps(torch.device("cpu"), "float32", DIM), StreamedSteps)
    monkeypatch.setattr(chosen, lambda *_: "bfloat16")
    svfr = make_task(OPEN_CLIP, dropout=0.0).module.head.svfr
    tokens, labels = torch.randn(2, 16, DIM), torch.randn(LABELS, DIM)
    trained = svfr(tokens, labels, labels)
    svfr.steps = training_steps(torch.device("cpu"), "float32", DIM)
    assert torch.equal(svfr(tokens, labels, labels), trained)
    with torch.inference_mode():
        scored = svfr(tokens.clone(), labels.clone(), labels.clone())
    assert not torch.equal(scored, trained)
    torch.testing.assert_close(scored, trained, atol=5e-3 * trained.abs().max().item(), rtol=0)


def test_missing_triton_is_logged_once(monkeypatch: pytest.MonkeyPatch, caplog) -> None:
    monkeypatch.setitem(sys.modules, "sigrl.model.kernels.triton_steps", None)
    assert isinstance(training_steps(CUDA, "bfloat16", 512), StreamedSteps)
    (record,) = caplog.records
    assert "pip install triton" in record.getMessage()


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_fused_training_step_matches_the_reference_implementation(precision, monkeypatch) -> None:
    """Runs in Triton's interpreter, with the kernels' products in float32, so that rounding hides nothing. In
    bfloat16 the two steps round differently."""
    pytest.importorskip("triton", reason="Triton is for Linux on x86-64")
    from sigrl.model.kernels.triton_steps import TritonSteps

    losses, gradients = steps_of(make_task(OPEN_CLIP), precision=precision)
    dtype = getattr(torch, precision)
    monkeypatch.setattr("sigrl.training.loop.acceleration.training_steps", lambda *_: TritonSteps(dtype))
    task = make_task(OPEN_CLIP)
    fused_losses, fused_gradients = steps_of(task, precision=precision)
    assert isinstance(task.module.head.svfr.steps, TritonSteps)
    near, tolerance = (1e-6, 1e-4) if precision == "float32" else (1e-2, 5e-2)
    torch.testing.assert_close(fused_losses, losses, rtol=near, atol=near)
    assert gradients.keys() == fused_gradients.keys()
    for name, one in gradients.items():
        atol = tolerance * one.abs().max().item()
        torch.testing.assert_close(fused_gradients[name], one, rtol=0, atol=atol, msg=name)
