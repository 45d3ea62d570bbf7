"""The frozen teacher of open-vocabulary training: the tower as it was before training.

The first blocks of the student are frozen, so they compute what the teacher's would. The teacher has none of
its own: it goes on from the student's output, which for ViT-B/16 with ten frozen blocks saves five sixths of
its work.
"""

from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from sigrl.model.backbone import Backbone

_PATHS = ("transformer.resblocks", "trunk.blocks")
"""Where open_clip's ViT and timm's have their blocks."""


def count_blocks(backbone: Backbone) -> int:
    """Number of blocks in the image tower (open_clip's ViT or timm's); 0 for towers without a row of blocks,
    such as CLIP's ResNets and ConvNeXt."""
    path = _blocks_path(backbone)
    return 0 if path is None else len(backbone.visual.get_submodule(path))


def frozen_teacher(backbone: Backbone) -> Backbone:
    """A frozen copy of the towers in their current state."""
    return deepcopy(backbone).eval().requires_grad_(False)


class Teacher:
    """A teacher that goes on from the output of the student's frozen blocks."""

    def __init__(self, student: Backbone, teacher: Backbone, frozen_layers: int) -> None:
        """`teacher` is from `frozen_teacher` and is changed in place; `frozen_layers` are those of
        `layer_decay_groups`, so layer i is the i-th block. A block with active dropout, which is not the same
        in training and in evaluation, is not shared. For a tower without blocks, the teacher computes
        everything itself."""
        self._backbone = teacher
        path = _blocks_path(student)
        if path is None:
            return
        shared = list(student.visual.get_submodule(path))[: max(frozen_layers, 0)]
        if not shared or any(_drops(module) for block in shared for module in block.modules()):
            return
        passed_on = _PassedOn()
        shared[-1].register_forward_hook(passed_on.take)
        own = list(teacher.visual.get_submodule(path))[len(shared) :]
        blocks = [passed_on, *own]
        is_list = isinstance(teacher.visual.get_submodule(path), nn.ModuleList)
        teacher.visual.set_submodule(path, nn.ModuleList(blocks) if is_list else nn.Sequential(*blocks))

    def to(self, device: torch.device) -> None:
        """Moves the teacher to `device`."""
        self._backbone.to(device)

    def teach(self, pixel_values: Tensor) -> Tensor:
        """Pixel values [B, 3, S, S] -> the teacher's image embeddings [B, D], without a gradient. The student
        must just have been called with the same pixel values, in training mode."""
        visual = self._backbone.visual.requires_grad_(True)
        # Some operators choose another kernel where no gradient is wanted. Its last bits would differ, and
        # the L1 loss would give a student that equals its teacher a gradient of random signs.
        with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(_keep_nothing, _keep_nothing):
            taught = self._backbone.encode_images(pixel_values).image_embeddings.detach()
        visual.requires_grad_(False)
        return taught


class _PassedOn(nn.Module):
    """Stands in the teacher for the student's frozen blocks: returns their output, whatever its input."""

    def __init__(self) -> None:
        super().__init__()
        self._output: Tensor | None = None

    def take(self, block: nn.Module, _: object, output: Tensor) -> None:
        """A forward hook of the student's last frozen block."""
        if block.training:
            self._output = output.detach()

    def forward(self, *_: object, **__: object) -> Tensor:
        output, self._output = self._output, None
        assert output is not None, "the student was not called before its teacher"
        return output


def _blocks_path(backbone: Backbone) -> str | None:
    for path in _PATHS:
        try:
            blocks = backbone.visual.get_submodule(path)
        except AttributeError:
            continue
        if isinstance(blocks, nn.ModuleList | nn.Sequential):
            return path
    return None


def _drops(module: nn.Module) -> bool:
    share: Any = getattr(module, "drop_prob", getattr(module, "p", getattr(module, "dropout", 0)))
    return isinstance(share, float | int) and share > 0


def _keep_nothing(_: object) -> None:
    """Instead of a tensor for a backward pass that does not come."""
