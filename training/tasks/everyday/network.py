"""The trained network: a copy of the image tower's last blocks, with heads on the frozen and the tuned
blocks.

The frozen blocks stay beside the tuned ones: their features are half of the heads' input, and ImageNet's
classifier still uses them.
"""

import copy
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from sigrl.model.features import POOL
from sigrl.model.word_tower import trunk_blocks

BEST_TOKENS = 4
"""Number of tokens whose mean score says how well a word matches some part of the photograph."""
_UNLIKELY = -4.0
"""Initial logits of known words; most words apply to few photographs."""


def tokens(feature_map: Tensor) -> Tensor:
    """Feature maps [B, F, h, w] -> tokens [B, T, F], the means of `POOL` x `POOL` cells."""
    return functional.avg_pool2d(feature_map, POOL).flatten(2).transpose(1, 2)


def pooled(feature_map: Tensor) -> Tensor:
    """Feature maps [B, F, h, w] -> [B, 2 F]: mean over all cells, and maximum over the tokens."""
    return torch.cat([feature_map.mean((2, 3)), tokens(feature_map).amax(1)], dim=1)


class LastBlocks(nn.Sequential):
    """Maps [B, C, h, w] -> [B, F, h', w']: the last blocks of a timm EfficientNet and the layers after them,
    with batch norms folded into the convolutions. Before training it computes the same as the trunk."""

    def __init__(self, trunk: Any, count: int) -> None:
        trunk = copy.deepcopy(trunk).eval()
        blocks = trunk_blocks(trunk)[-count:]
        for block in blocks:
            for convolution, norm in (("conv_pw", "bn1"), ("conv_dw", "bn2"), ("conv_pwl", "bn3")):
                _fold(block, convolution, norm)
        _fold(trunk, "conv_head", "bn2")
        super().__init__(*blocks, trunk.conv_head, trunk.bn2)
        self.to(memory_format=torch.channels_last)

    def forward(self, maps: Tensor) -> Tensor:
        """`maps` are the outputs of the stage before."""
        output: Tensor = super().forward(maps.contiguous(memory_format=torch.channels_last))
        return output


def _fold(module: nn.Module, convolution: str, norm: str) -> None:
    theirs = getattr(module, norm)
    # timm's batch norm includes the activation, which PyTorch's fusion would drop.
    plain = nn.BatchNorm2d(theirs.num_features, theirs.eps).eval()
    plain.load_state_dict(theirs.state_dict())
    fused = fuse_conv_bn_eval(getattr(module, convolution).eval(), plain)
    # PyTorch gives the new bias no gradient, because the convolution had none.
    setattr(module, convolution, fused.requires_grad_())
    setattr(module, norm, theirs.act)


class Seen(NamedTuple):
    """The heads' output for B photographs."""

    known: Tensor
    """[B, K]: logits of the known words."""
    embedding: Tensor
    """[B, E], not normalised, in the space that `text_map` maps to."""
    tokens: Tensor
    """[B, T, E]: the same for parts of the photograph."""


class Heads(nn.Module):
    """A classifier for known words, and an embedding in the sentence encoder's space for all others."""

    feature_mean: Tensor
    feature_deviation: Tensor

    def __init__(self, mean: Tensor, deviation: Tensor, known_words: int, hidden: int, width: int) -> None:
        """`mean` and `deviation` [2 F] standardise pooled features; `width` E is the sentence encoder's."""
        super().__init__()
        features = len(mean) // 2
        self.register_buffer("feature_mean", mean.clone())
        self.register_buffer("feature_deviation", deviation.clone())
        self.input_dropout = nn.Dropout(0.3)
        self.hidden = nn.Linear(4 * features, hidden)
        self.hidden_dropout = nn.Dropout(0.5)
        self.known_words = nn.Linear(hidden, known_words)
        self.embedding = nn.Linear(2 * features, width)
        self.residual = nn.Linear(hidden, width)
        self.tokens = nn.Linear(features, width)
        self.text_map = nn.Linear(width, width)
        self.log_global_scale = nn.Parameter(torch.tensor(2.3))
        self.log_local_scale = nn.Parameter(torch.tensor(2.0))
        self.bias = nn.Parameter(torch.tensor(-6.0))
        self.mention_bias = nn.Parameter(torch.tensor(-1.0))
        """Bias for words in captions, which leave out most of what is visible."""
        self.log_caption_scale = nn.Parameter(torch.tensor(2.5))
        nn.init.constant_(self.known_words.bias, _UNLIKELY)
        nn.init.zeros_(self.residual.weight)
        nn.init.zeros_(self.residual.bias)

    def forward(self, feature_map: Tensor, untouched: Tensor) -> Seen:
        """`feature_map` [B, F, h, w] is from the tuned blocks, `untouched` [B, 2 F] pooled from the frozen
        ones."""
        features = len(self.feature_mean) // 2
        tuned = self.standardised(pooled(feature_map))
        both = torch.cat([self.standardised(untouched), tuned], dim=1)
        shared = self.hidden_dropout(functional.gelu(self.hidden(self.input_dropout(both))))
        parts = (tokens(feature_map) - self.feature_mean[:features]) / self.feature_deviation[:features]
        return Seen(
            self.known_words(shared), self.embedding(tuned) + self.residual(shared), self.tokens(parts)
        )

    def standardised(self, features: Tensor) -> Tensor:
        """Pooled features [B, 2 F], standardised."""
        return (features - self.feature_mean) / self.feature_deviation

    def word_logits(self, seen: Seen, words: Tensor) -> Tensor:
        """Logits [B, V] of words with sentence embeddings [V, E]: how well they match the whole photograph
        and its best-matching parts."""
        mapped = functional.normalize(self.text_map(words), dim=-1)
        whole = functional.normalize(seen.embedding, dim=-1) @ mapped.T
        parts = functional.normalize(seen.tokens, dim=-1) @ mapped.T
        best = parts.topk(min(BEST_TOKENS, parts.shape[1]), dim=1).values.mean(1)
        return self.log_global_scale.exp() * whole + self.log_local_scale.exp() * best + self.bias


class EverydayNetwork(nn.Module):
    """The tuned blocks with their heads: everything that is trained and saved."""

    def __init__(self, blocks: LastBlocks, heads: Heads) -> None:
        super().__init__()
        self.blocks = blocks
        self.heads = heads

    def forward(self, maps: Tensor, untouched: Tensor, *, bfloat16: bool = False) -> Seen:
        """`maps` [B, C, h, w] are from the frozen blocks, `untouched` [B, 2 F] are pooled features. With
        `bfloat16`, a CPU computes the convolutions in bfloat16, and the heads in float32."""
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            feature_map = self.blocks(maps)
        seen: Seen = self.heads(feature_map.float(), untouched)
        return seen
