"""Maps the frozen tower's features into the sentence encoder's space, through ImageNet's class names."""

import torch
from torch import Tensor
from torch.nn import functional

from sigrl.training.backbones.initialisation import ImageNetBridge
from sigrl.training.tasks.everyday.network import Heads

_RIDGE = 0.02
"""Ridge penalty of the regression that initialises the embedding, relative to the features' variance."""


class Bridge:
    """Centred bridge embeddings; what all photographs have in common is removed."""

    def __init__(self, bridge: ImageNetBridge, sample: Tensor) -> None:
        """`sample` [n, 2 F] are pooled features of photographs whose mean is the centre."""
        self._bridge = bridge
        self._centre = bridge.embed(self._mean(sample)).mean(0)

    def __call__(self, untouched: Tensor) -> Tensor:
        """Pooled features [B, 2 F] of the frozen tower -> bridge embeddings [B, E]."""
        with torch.no_grad():
            return self._bridge.embed(self._mean(untouched)) - self._centre

    @staticmethod
    def _mean(features: Tensor) -> Tensor:
        return features[:, : features.shape[1] // 2]


@torch.no_grad()
def initialise(heads: Heads, bridge: Bridge, sample: Tensor, known_embeddings: Tensor) -> None:
    """Initialises the embedding, of photographs and their parts, as a ridge regression from the mean features
    to the bridge, and the text map as the identity about the known words' mean.

    `sample` [n, 2 F] are pooled features of the frozen tower; `known_embeddings` are [K, E].
    """
    features = sample.shape[1] // 2
    inputs = heads.standardised(sample)[:, :features]
    targets = functional.normalize(bridge(sample), dim=-1)
    penalty = _RIDGE * len(inputs) * inputs.var(0).mean() * torch.eye(features)
    weight = torch.linalg.solve(inputs.T @ inputs + penalty, inputs.T @ targets).T
    heads.embedding.weight.zero_()
    heads.embedding.weight[:, :features].copy_(weight)
    heads.tokens.weight.copy_(weight)
    heads.embedding.bias.zero_()
    heads.tokens.bias.zero_()
    heads.text_map.weight.copy_(torch.eye(len(heads.text_map.weight)))
    heads.text_map.bias.copy_(-known_embeddings.mean(0))
