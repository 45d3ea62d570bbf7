"""Adapts a task's module to its device before training: fused kernels for SVFR, and recomputed activations.
Neither changes what is learned."""

import logging

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from sigrl.model.acceleration import choose_precision
from sigrl.model.kernels.cpu_steps import CpuSteps
from sigrl.model.svfr import SemanticFeatureReconstruction, Steps, StreamedSteps
from sigrl.training.data.dataset import DataError
from sigrl.training.loop.task import LoopConfig

_logger = logging.getLogger("sigrl")


def fit_to_device(module: nn.Module, accelerator: Accelerator, config: LoopConfig) -> None:
    """Changes `module` in place; it must already be on the accelerator's device.

    Raises DataError if the configuration asks for recomputed activations and the towers do not support that.
    """
    reconstructions = [one for one in module.modules() if isinstance(one, SemanticFeatureReconstruction)]
    for one in reconstructions:
        one.steps = training_steps(accelerator.device, config.precision, one.embed_dim)
    if config.checkpointing:
        _recompute_activations(module)


def training_steps(device: torch.device, precision: str, embed_dim: int) -> Steps:
    """SVFR's attentions for training: the fused kernels on a GPU in bfloat16, otherwise the readable form.

    In float32 the kernels would be slower than the readable form. On a processor that multiplies in bfloat16,
    photographs that are only scored take the service's form, see `TrainedAndScored`.
    """
    if device.type == "cpu" and choose_precision("auto", device) == "bfloat16":
        return TrainedAndScored(CpuSteps("bfloat16", compiled=False))
    if device.type != "cuda" or precision != "bfloat16" or embed_dim % 16:
        return StreamedSteps()
    try:
        from sigrl.model.kernels.triton_steps import TritonSteps
    except ImportError:
        _logger.warning("triton is not installed, so SVFR trains several times slower: `pip install triton`")
        return StreamedSteps()
    return TritonSteps()


class TrainedAndScored:
    """`sigrl.model.svfr.Steps` on a processor: the readable form where it is trained, and in PyTorch's
    inference mode the service's in bfloat16, which takes half of the time or less and changes a score by
    about a thousandth."""

    def __init__(self, scored: Steps) -> None:
        self._trained, self._scored = StreamedSteps(), scored

    def decouple(self, patch_tokens: Tensor, label_embeddings: Tensor, weight: Tensor) -> Tensor:
        """As `sigrl.model.svfr.semantic_decoupling`."""
        return self._now(patch_tokens).decouple(patch_tokens, label_embeddings, weight)

    def gate(self, patch_tokens: Tensor, label_queries: Tensor, weight: Tensor) -> Tensor:
        """As `sigrl.model.svfr.label_gate`."""
        return self._now(patch_tokens).gate(patch_tokens, label_queries, weight)

    def _now(self, patch_tokens: Tensor) -> Steps:
        return self._scored if patch_tokens.is_inference() else self._trained


def _recompute_activations(module: nn.Module) -> None:
    """Switches on checkpointing in every tower of `module`, through the method of open_clip's and timm's
    towers.

    A frozen part of a tower keeps no activations anyway, and is not computed again.
    """
    towers = [one for one in module.modules() if hasattr(one, "set_grad_checkpointing")]
    try:
        for tower in towers:
            tower.set_grad_checkpointing(True)
    except AssertionError as error:  # timm raises this for a tower that does not support it
        raise DataError(f"this tower does not support `checkpointing` ({error}): remove it") from error
    if not towers:
        raise DataError("only towers of open_clip and timm support `checkpointing`: remove it")
