"""Speeds up a loaded model for inference on a device: precision, fused layers, special kernels for SVFR."""

import os
import shutil
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from sigrl.model.backbone import Backbone
from sigrl.model.bundle import TaggingModel
from sigrl.model.gmc import fused_pair_logits
from sigrl.model.heads import SigRLHead
from sigrl.model.kernels.cpu_steps import CpuSteps, Precision
from sigrl.model.kernels.int8_layers import int8_layers, multiplies_in_int8
from sigrl.model.svfr import Steps, StreamedSteps
from sigrl.model.tagclip import TagclipHead

PrecisionChoice = Literal["auto", "float32", "bfloat16", "int8"]
"""`int8` computes SVFR's products and the linear layers of a ViT in int8, and the rest of the image tower in
bfloat16. `auto`: see `choose_precision`."""

Replacement = tuple[nn.Module, str, nn.Module]
"""(module, name of its child, replacement of that child)."""

FOLDING_TOLERANCE = 1e-4
"""Relative to the largest output; rounding is a hundredth of it."""

INT8_TOLERANCE = 0.25
"""Likewise; rounding is a few hundredths, while a layer that is used differently than expected gives
arbitrary results."""


def choose_precision(choice: PrecisionChoice, device: torch.device) -> Precision:
    """bfloat16 for `auto` if the device multiplies in it (AMX, AVX512-BF16, NVIDIA from Ampere on), otherwise
    float32. Raises ValueError for int8 on a GPU, for which there are no kernels here."""
    if choice == "int8" and device.type != "cpu":
        raise ValueError("int8 is for CPUs only: use bfloat16 on a GPU")
    if choice != "auto":
        return choice
    if device.type == "cuda":
        return "bfloat16" if torch.cuda.get_device_capability(device) >= (8, 0) else "float32"
    capabilities = torch.cpu.get_capabilities()
    return "bfloat16" if capabilities.get("avx512_bf16") or capabilities.get("amx_bf16") else "float32"


def accelerate(
    model: TaggingModel, image_size: int, device: torch.device, precision: Precision, *, compiled: bool
) -> None:
    """Moves the model to the device and changes it in place. Afterwards it can tag but no longer be trained
    or saved.

    The image tower computes in bfloat16 unless the precision is float32, and SVFR in the precision; in int8,
    the linear layers of the tower's blocks do too if the processor supports it. The text tower, which runs
    once per vocabulary, and the rest of the head, which is cheap, stay in float32. `compiled` fuses SVFR's
    stages (see `CpuSteps`), GMC's, and the operations around int8 layers, and on a GPU compiles the image
    tower. Raises ValueError if it needs a C++ compiler and there is none.
    """
    compiler = os.environ.get("CXX", "g++")
    if compiled and device.type == "cpu" and shutil.which(compiler) is None:
        raise ValueError(
            f"compiling needs a C++ compiler, and {compiler} is not installed: install it, or do not compile"
        )
    model.to(device).eval()
    fold_batch_norms(model.backbone, image_size)
    visual = model.backbone.visual
    # Convolutions on a CPU run half as fast again in this memory format.
    visual.to(memory_format=torch.channels_last)
    if precision != "float32":
        visual.bfloat16()
    # The tagclip head reads the attention's own weights.
    if precision == "int8" and multiplies_in_int8() and not isinstance(model.head, TagclipHead):
        use_int8_layers(model.backbone, image_size, compiled=compiled)
    if compiled and device.type == "cuda":
        # On a CPU it is no faster than the library's own kernels and takes a minute.
        encode_images = torch.compile(model.backbone.encode_images, dynamic=True)
        setattr(model.backbone, "encode_images", encode_images)  # noqa: B010 (mypy rejects assigning to a method)
    head = model.head
    if device.type == "cpu":
        head.top_k_mean = _sorted_top_k_mean
    if not isinstance(head, SigRLHead):
        return
    if head.svfr is not None:
        head.svfr.steps = _choose_steps(device, precision, head.svfr.embed_dim, compiled=compiled)
    if compiled and head.graph is not None:
        fused = torch.compile(fused_pair_logits, dynamic=True)
        head.graph.hidden.compiled_logits = head.graph.output.compiled_logits = fused


def _choose_steps(device: torch.device, precision: Precision, embed_dim: int, *, compiled: bool) -> Steps:
    if device.type == "cpu":
        return CpuSteps(precision, compiled=compiled)
    if device.type == "cuda" and precision == "bfloat16" and embed_dim % 16 == 0:
        from sigrl.model.kernels.triton_steps import TritonSteps

        return TritonSteps()
    return StreamedSteps()


def _sorted_top_k_mean(scores: Tensor, k: int) -> Tensor:
    """As `matching.top_k_mean`: NumPy sorts all patches of a label in a third of the time that torch takes to
    find the best of them."""
    ordered = np.sort(scores.mT.numpy(), axis=-1)
    return torch.from_numpy(ordered[..., -k:]).mean(dim=-1)


@torch.no_grad()
def fold_batch_norms(backbone: Backbone, image_size: int) -> None:
    """Merges batch normalisations of the image tower into the convolutions before them, which computes the
    same function in fewer passes.

    The order of a module's children shows which normalisation follows which convolution. If the tower's
    output for a random image shows that this was wrong, everything is left unchanged.
    """
    replacements: list[Replacement] = []
    for parent in backbone.visual.modules():
        for (first, convolution), (second, norm) in pairwise(parent.named_children()):
            if _can_be_merged(convolution, norm):
                merged = fuse_conv_bn_eval(convolution, norm)
                replacements += [(parent, first, merged), (parent, second, _without_normalisation(norm))]
    _replace(backbone, image_size, replacements, FOLDING_TOLERANCE)


@torch.no_grad()
def use_int8_layers(backbone: Backbone, image_size: int, *, compiled: bool) -> None:
    """Replaces the linear layers of a bfloat16 image tower by int8 ones, except for its last projection.

    Some towers access a layer's weight directly: if the output for a random image fails or differs,
    everything is left unchanged.
    """
    visual = backbone.visual
    blocks = visual.trunk if hasattr(visual, "trunk") else visual.transformer
    _replace(backbone, image_size, int8_layers(blocks, compiled=compiled), INT8_TOLERANCE)


def _replace(
    backbone: Backbone, image_size: int, replacements: Sequence[Replacement], tolerance: float
) -> None:
    """Replaces only if the image tower's output for a random image stays the same within `tolerance`."""
    if not replacements:
        return
    first = next(backbone.visual.parameters())
    example = torch.randn(1, 3, image_size, image_size, dtype=first.dtype, device=first.device)
    expected = backbone.encode_images(example)
    originals = [(parent, name, getattr(parent, name)) for parent, name, _ in replacements]
    for parent, name, replacement in replacements:
        setattr(parent, name, replacement)
    try:
        ours = backbone.encode_images(example)
        agree = _agree(ours.patch_tokens, expected.patch_tokens, tolerance) and _agree(
            ours.image_embeddings, expected.image_embeddings, tolerance
        )
    except (AttributeError, TypeError, ValueError, RuntimeError):
        agree = False
    if not agree:
        for parent, name, original in originals:
            setattr(parent, name, original)


def _agree(ours: Tensor, expected: Tensor, tolerance: float) -> bool:
    return bool((ours - expected).abs().max() <= tolerance * expected.abs().max())


def _can_be_merged(convolution: nn.Module, norm: nn.Module) -> bool:
    return (
        isinstance(convolution, nn.Conv2d)
        and isinstance(norm, nn.BatchNorm2d)
        and convolution.out_channels == norm.num_features
    )


def _without_normalisation(norm: Any) -> nn.Module:
    """The remainder of a batch normalisation: timm's include the activation."""
    return norm.act if hasattr(norm, "act") else nn.Identity()
