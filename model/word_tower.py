"""An image tower that keeps a classifier's knowledge and learns words beside it.

The blocks of a convolutional classifier run as they were trained. The last few exist twice: unchanged for the
classifier's own classes, and tuned for words. Both share the blocks before them, so that the second copy
costs only a fraction of the tower. The pooled features of both feed three outputs: logits of the known
words, an embedding in the joint space for every other word, and the classifier's logits.
"""

import sigrl.model.torchvision_cure  # noqa: F401 (before timm, which imports torchvision)

# isort: split
from typing import Any

import timm
import torch
from torch import Tensor, nn
from torch.nn import functional

from sigrl.model.config import BackboneConfig, WordTowerConfig
from sigrl.model.features import POOL, ImageFeatures


class TunedBlock(nn.Module):
    """An inverted residual block of an EfficientNet-Lite, with its batch norms merged into the
    convolutions."""

    def __init__(self, block: Any) -> None:
        """Takes the shapes of timm's `block`. Raises ValueError for a block with a stride."""
        super().__init__()
        if block.conv_dw.stride != (1, 1):
            raise ValueError("a block that makes the map smaller cannot be tuned: lower `tuned_blocks`")
        given, inner, out = block.conv_pw.in_channels, block.conv_pw.out_channels, block.conv_pwl.out_channels
        side = block.conv_dw.kernel_size[0]
        self.expand = nn.Conv2d(given, inner, 1)
        self.depthwise = nn.Conv2d(inner, inner, side, padding=side // 2, groups=inner)
        self.reduce = nn.Conv2d(inner, out, 1)
        self._has_skip = bool(block.has_skip)

    def forward(self, maps: Tensor) -> Tensor:
        """Maps [B, C, h, w] -> [B, C', h, w]."""
        relu = functional.relu6
        output: Tensor = self.reduce(relu(self.depthwise(relu(self.expand(maps)))))
        return maps + output if self._has_skip else output


class TunedBlocks(nn.Module):
    """The last blocks of an EfficientNet-Lite, up to its feature map."""

    def __init__(self, trunk: Any, count: int) -> None:
        """Takes the shapes of the last `count` blocks of timm's `trunk`."""
        super().__init__()
        self.blocks = nn.ModuleList(TunedBlock(block) for block in trunk_blocks(trunk)[-count:])
        head = trunk.conv_head
        self.features = nn.Conv2d(head.in_channels, head.out_channels, 1)

    def forward(self, maps: Tensor) -> Tensor:
        """Maps [B, C, h, w] -> [B, F, h, w]."""
        for block in self.blocks:
            maps = block(maps)
        return functional.relu6(self.features(maps))


def trunk_blocks(trunk: Any) -> list[nn.Module]:
    """The blocks of all stages of a timm EfficientNet, first to last."""
    return [block for stage in trunk.blocks for block in stage]


class WordTower(nn.Module):
    """Pixel values to `ImageFeatures` with `word_logits`."""

    def __init__(self, config: BackboneConfig, words: WordTowerConfig) -> None:
        """Raises ValueError for an architecture whose last blocks are not inverted residual blocks."""
        super().__init__()
        name = str(config.vision["timm_model_name"])
        self.trunk: Any
        try:
            self.trunk = timm.create_model(name, num_classes=0)
            self.tuned = TunedBlocks(self.trunk, words.tuned_blocks)
        except (AttributeError, RuntimeError, TypeError) as error:
            raise ValueError(f"a word tower needs an EfficientNet-Lite of timm's, not {name!r}") from error
        features, embed_dim = self.trunk.conv_head.out_channels, config.embed_dim
        self._shared = len(trunk_blocks(self.trunk)) - words.tuned_blocks
        self.classes = nn.Linear(features, words.classes)
        self.hidden = nn.Linear(4 * features, words.hidden)
        self.words = nn.Linear(words.hidden, words.words)
        self.embedding = nn.Linear(2 * features, embed_dim)
        self.embedding_residual = nn.Linear(words.hidden, embed_dim)
        self.tokens = nn.Linear(features, embed_dim)
        # Trained when a checkpoint is fitted to a user's own photographs; until then it is the identity.
        self.projection = nn.Linear(embed_dim, embed_dim)
        with torch.no_grad():
            self.projection.weight.copy_(torch.eye(embed_dim))
            self.projection.bias.zero_()

    def forward(self, pixel_values: Tensor) -> ImageFeatures:
        """Pixel values [B, 3, S, S] -> features; see `Backbone.encode_images`."""
        trunk = self.trunk
        maps = trunk.bn1(trunk.conv_stem(pixel_values))
        blocks = trunk_blocks(trunk)
        for block in blocks[: self._shared]:
            maps = block(maps)
        tuned = self.tuned(maps).float()
        for block in blocks[self._shared :]:
            maps = block(maps)
        kept = trunk.bn2(trunk.conv_head(maps)).float()
        kept_squares, tuned_squares = functional.avg_pool2d(kept, POOL), functional.avg_pool2d(tuned, POOL)
        embeddings, word_logits = self.read_pooled(_pooled(kept, kept_squares), _pooled(tuned, tuned_squares))
        return ImageFeatures(
            embeddings,
            self.projection(self.tokens(tuned.flatten(2).mT)),
            (tuned.shape[2], tuned.shape[3]),
            word_logits=word_logits,
            region_features=torch.cat([kept_squares, tuned_squares], dim=1).flatten(2).mT,
        )

    def read_regions(self, region_features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """`ImageFeatures.region_features` [B, R, 2 F] -> embeddings [B, R, D], tokens [B, R, D] and word
        logits [B, R, K + classes]: the tower's output for each region as if it filled a whole photograph."""
        kept, tuned = region_features.chunk(2, dim=-1)
        # Where all positions are alike, their mean is also their maximum.
        embeddings, word_logits = self.read_pooled(
            torch.cat([kept, kept], dim=-1), torch.cat([tuned, tuned], dim=-1)
        )
        return embeddings, self.projection(self.tokens(tuned)), word_logits

    def read_pooled(self, kept: Tensor, tuned: Tensor) -> tuple[Tensor, Tensor]:
        """The mean and the maximum of the kept map and of the tuned map [..., 2 F] -> embeddings [..., D],
        word logits [..., K + classes]."""
        hidden = functional.gelu(self.hidden(torch.cat([kept, tuned], dim=-1)))
        embeddings = self.projection(self.embedding(tuned) + self.embedding_residual(hidden))
        mean, _ = kept.chunk(2, dim=-1)
        return embeddings, torch.cat([self.words(hidden), self.classes(mean)], dim=-1)

    def bfloat16(self) -> "WordTower":
        """Converts only the convolutions: the linear maps cost nothing, and bfloat16 would round logits to
        1/16."""
        self.trunk.bfloat16()
        self.tuned.bfloat16()
        return self


def _pooled(maps: Tensor, squares: Tensor) -> Tensor:
    """The mean over the positions of `maps` [B, F, h, w] and the maximum over `squares`: [B, 2 F]."""
    return torch.cat([maps.mean(dim=(2, 3)), squares.flatten(2).amax(dim=2)], dim=1)
