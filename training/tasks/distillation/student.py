"""The student: EfficientNet-Lite0 in the teacher's joint space, in front of the teacher's own head.

The head, the text tower and the tokenizer are the teacher's, unchanged, so the student answers for any word.
The trunk keeps its ImageNet weights up to its last blocks. What the frozen part gives is computed once for
each photograph; only the last blocks and the linear maps after them are trained. A student of a word tower
is a word tower too: its frozen blocks and their classifier stay beside the trained ones.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from sigrl.model.backbone import Backbone
from sigrl.model.bundle import Bundle
from sigrl.model.config import BackboneConfig, Preprocessing
from sigrl.model.features import ImageFeatures
from sigrl.model.word_tower import WordTower, trunk_blocks
from sigrl.training.backbones.initialisation import load_efficientnet_lite
from sigrl.training.data.dataset import DataError
from sigrl.training.tasks.everyday.assemble import tuned_weights
from sigrl.training.tasks.everyday.frozen_features import FrozenTower
from sigrl.training.tasks.everyday.network import LastBlocks, pooled

TRUNK = "tf_efficientnet_lite0"
TUNED_BLOCKS = 3
"""Number of last blocks that are trained, unless the teacher is a word tower, which has its own number."""
_MEAN = _DEVIATION = (0.5, 0.5, 0.5)


class Seen(NamedTuple):
    """An image tower's output for B photographs."""

    embeddings: Tensor
    """[B, D]."""
    tokens: Tensor
    """[B, P, D]."""
    word_logits: Tensor
    """[B, K + classes]; [B, 0] for a tower without words."""

    def features(self, grid: tuple[int, int]) -> ImageFeatures:
        """The input of a head; `grid` has P positions."""
        return ImageFeatures(self.embeddings, self.tokens, grid)


class StandardisedLinear(nn.Module):
    """A linear map of standardised features, which is trained in place of a map of the features themselves.

    The features of a ReLU network are positive and alike in all photographs. In a map of 5,120 of them, one
    step of AdamW adds up over all, and the good start is gone before anything is learned.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, linear: nn.Linear) -> None:
        """Computes the same as `linear`, which has a bias, until the statistics are set."""
        super().__init__()
        self.linear = linear
        self.register_buffer("mean", torch.zeros(linear.in_features))
        self.register_buffer("deviation", torch.ones(linear.in_features))

    def forward(self, features: Tensor) -> Tensor:
        """Features [..., F] -> [..., D]."""
        mapped: Tensor = self.linear((features - self.mean) / self.deviation)
        return mapped

    def folded(self) -> dict[str, Tensor]:
        """`weight` [D, F] and `bias` [D] of the same map as a plain linear one."""
        weight = self.linear.weight / self.deviation
        return {"weight": weight, "bias": self.linear.bias - weight @ self.mean}


class Student(nn.Module):
    """The student's image tower."""

    def __init__(self, teacher: Bundle, pixels: int) -> None:
        """A student of `teacher` for photographs of `pixels` x `pixels`, with untrained linear maps. Raises
        DataError if the teacher's tower cannot be copied in small, or if ImageNet's weights are not
        installed."""
        super().__init__()
        manifest = teacher.manifest
        self.config = _backbone_config(manifest.backbone, pixels)
        own: dict[str, Any] = {"image_size": pixels, "mean": _MEAN, "std": _DEVIATION, "short_side": None}
        self.preprocessing = Preprocessing.model_validate(manifest.preprocessing.model_dump() | own)
        try:
            self.visual: Any = Backbone(self.config, teacher.tokenizer).visual
        except ValueError as error:
            raise DataError(f"no student can be made of {manifest.name}: {error}") from error
        self.has_words = isinstance(self.visual, WordTower)
        self._count = self.config.words.tuned_blocks if self.config.words else TUNED_BLOCKS
        with torch.no_grad():
            self._start_from_imagenet()
        parent = self.visual if self.has_words else self.visual.head
        for name in ("hidden", "embedding", "tokens") if self.has_words else ("proj",):
            setattr(parent, name, StandardisedLinear(getattr(parent, name)))
        self.requires_grad_(False)
        for parameter in (*self.blocks(), *self.heads()):
            parameter.requires_grad_(True)
        self.eval()

    def frozen_tower(self) -> FrozenTower:
        """Pixel values [B, 3, S, S] -> the inputs of `forward`."""
        return FrozenTower(self.visual.trunk, self._count)

    def forward(self, maps: Tensor, untouched: Tensor) -> Seen:
        """The tower's output for the result of `frozen_tower`: maps [B, C, h, w] before the last blocks, and
        the pooled features [B, 2 F] of the frozen blocks."""
        found = self.feature_map(maps)
        positions = found.flatten(2).mT
        if not self.has_words:
            head = self.visual.head
            return Seen(head(found.mean(dim=(2, 3))), head(positions), found.new_zeros(len(found), 0))
        embeddings, words = self.visual.read_pooled(untouched, pooled(found))
        return Seen(embeddings, self.visual.projection(self.visual.tokens(positions)), words)

    def feature_map(self, maps: Tensor) -> Tensor:
        """Maps [B, C, h, w] before the last blocks -> [B, F, h, w] after them."""
        maps = maps.contiguous(memory_format=torch.channels_last)
        if self.has_words:
            return self.visual.tuned(maps).float()
        for block in self._last_blocks():
            maps = block(maps)
        return self.visual.trunk.bn2(self.visual.trunk.conv_head(maps)).float()

    @torch.no_grad()
    def tower_state(self) -> dict[str, Tensor]:
        """The weights of the image tower as `Backbone` computes it."""
        state = dict(self.visual.state_dict())
        for prefix, module in self.visual.named_modules():
            if isinstance(module, StandardisedLinear):
                for name in module.state_dict():
                    del state[f"{prefix}.{name}"]
                state |= {f"{prefix}.{name}": one for name, one in module.folded().items()}
        return state

    def train(self, mode: bool = True) -> "Student":
        """Sets the mode, except that batch norms keep ImageNet's statistics."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()
        return self

    def blocks(self) -> list[nn.Parameter]:
        """The trained parameters that start from ImageNet's weights."""
        trunk = self.visual.trunk
        own = [*self._last_blocks(), trunk.conv_head, trunk.bn2]
        parts = [self.visual.tuned] if self.has_words else own
        return [parameter for part in parts for parameter in part.parameters()]

    def heads(self) -> list[nn.Parameter]:
        """The parameters of the linear maps into the joint space and to the words' logits."""
        tower = self.visual
        words = ("hidden", "words", "embedding", "embedding_residual", "tokens")
        parts = [getattr(tower, name) for name in (words if self.has_words else ("head",))]
        return [parameter for part in parts for parameter in part.parameters()]

    def _last_blocks(self) -> list[nn.Module]:
        return trunk_blocks(self.visual.trunk)[-self._count :]

    def _start_from_imagenet(self) -> None:
        visual = self.visual
        weight, bias = load_efficientnet_lite(visual.trunk, TRUNK)
        # As the bundle stores them, so that what is computed once stays what the finished bundle computes.
        visual.trunk.half().float()
        if not self.has_words:
            return
        visual.tuned.load_state_dict(tuned_weights(LastBlocks(visual.trunk, self._count)))
        if visual.classes.weight.shape != weight.shape:
            raise DataError(
                "the teacher's classifier is not ImageNet's: no student can start from its classes"
            )
        visual.classes.weight.copy_(weight)
        visual.classes.bias.copy_(bias)


def _backbone_config(teacher: BackboneConfig, pixels: int) -> BackboneConfig:
    vision: dict[str, Any] = {"timm_model_name": TRUNK, "image_size": pixels}
    if teacher.words is None:
        vision |= {"timm_pool": "avg", "timm_proj": "linear", "timm_proj_bias": True}
    return BackboneConfig.model_validate(teacher.model_dump() | {"vision": vision})
