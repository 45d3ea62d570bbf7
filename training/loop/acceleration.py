"""What fits a task's module to its device before it trains: SVFR's fused kernels, and activations that are
computed again rather than kept. Neither changes what is learned."""

import logging

import torch
from accelerate import Accelerator
from torch import nn

from sigrl.model.svfr import SemanticFeatureReconstruction, Steps, StreamedSteps
from sigrl.training.data.dataset import DataError
from sigrl.training.loop.task import LoopConfig

_logger = logging.getLogger("sigrl")


def fit_to_device(module: nn.Module, accelerator: Accelerator, config: LoopConfig) -> None:
    """Changes `module` in place, which is on the accelerator's device already.

    Raises DataError when its towers cannot recompute their activations and the configuration asks for it.
    """
    reconstructions = [one for one in module.modules() if isinstance(one, SemanticFeatureReconstruction)]
    for one in reconstructions:
        one.steps = training_steps(accelerator.device, config.precision, one.embed_dim)
    if config.checkpointing:
        _recompute_activations(module)


def training_steps(device: torch.device, precision: str, embed_dim: int) -> Steps:
    """SVFR's attentions as they are trained: on a GPU in bfloat16 the fused kernels, else the readable form.

    In float32 the kernels would be slower than the readable form.
    """
    if device.type != "cuda" or precision != "bfloat16" or embed_dim % 16:
        return StreamedSteps()
    try:
        from sigrl.model.kernels.triton_steps import TritonSteps
    except ImportError:
        _logger.warning("triton is not installed: SVFR trains several times slower; `pip install triton`")
        return StreamedSteps()
    return TritonSteps()


def _recompute_activations(module: nn.Module) -> None:
    """Every tower in `module`, by the switch that open_clip's and timm's towers have.

    A frozen part of a tower keeps nothing anyway, and is not computed again.
    """
    towers = [one for one in module.modules() if hasattr(one, "set_grad_checkpointing")]
    try:
        for tower in towers:
            tower.set_grad_checkpointing(True)
    except AssertionError as error:  # what timm raises for a tower that has no such form
        raise DataError(f"this tower cannot train with `checkpointing` ({error}): leave it out") from error
    if not towers:
        raise DataError("no tower here is open_clip's or timm's: leave `checkpointing` out")
