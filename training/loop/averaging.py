"""The exponential moving average (EMA) of the weights, which replaces the last weights in evaluation."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class AveragedWeights:
    """Exponential moving average of a module's trained parameters."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        """Starts at the module's weights. The decay grows to `decay` over the first steps, because otherwise
        a short run's average would mostly be its initial weights."""
        self._parameters = {name: one for name, one in module.named_parameters() if one.requires_grad}
        self._decay = decay
        self.averages: dict[str, Tensor] = {
            name: one.detach().clone() for name, one in self._parameters.items()
        }

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Adds the weights after the `step`-th step, counted from 1."""
        weight = 1 - min(self._decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(list(self.averages.values()), list(self._parameters.values()), weight)

    @torch.no_grad()
    def load(self, averages: Mapping[str, Tensor]) -> None:
        """Replaces the averages by saved ones."""
        for name, average in self.averages.items():
            average.copy_(averages[name])

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Within the block, the module's weights are the averages."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    @torch.no_grad()
    def _exchange(self) -> None:
        for name, parameter in self._parameters.items():
            kept = parameter.detach().clone()
            parameter.copy_(self.averages[name])
            self.averages[name].copy_(kept)
