"""The known labels and pseudo-labels of a single-positive run's training photographs."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from sigrl.training.losses.options import EmApl, SinglePositiveOptions
from sigrl.training.losses.pseudo_labels import asymmetric_pseudo_labels, negative_quotas
from sigrl.training.losses.single_positive import Targets


class TrainingLabels:
    """Labels of N training photographs, from which each batch takes its rows."""

    def __init__(
        self,
        options: SinglePositiveOptions,
        epochs: int,
        observed: Tensor,
        complete: Tensor,
        pseudo: Tensor | None = None,
    ) -> None:
        """`observed` and `complete` [N, C] are in {-1, 0, 1}; `pseudo` [N, C] are VLPL's pseudo-labels.

        Raises ValueError if asymmetric pseudo-labels would have no epoch left.
        """
        self._options, self._epochs = options, epochs
        self._observed, self._full, self._pseudo = observed, (complete == 1).to(torch.int8), pseudo
        self._soft: Tensor | None = None
        if isinstance(options, EmApl):
            left = epochs - options.warmup_epochs
            self._quotas = negative_quotas((observed == 0).sum(0), options.negative_share, left)
            self._soft = torch.full(observed.shape, -1.0)

    def to(self, device: torch.device) -> None:
        """Moves all tensors to `device`."""
        for name, one in list(vars(self).items()):
            if isinstance(one, Tensor):
                setattr(self, name, one.to(device))

    def targets(self, rows: Tensor, epoch: int, estimated_logits: Tensor | None = None) -> Targets:
        """The targets of the photographs `rows` [B], in an epoch counted from 0."""
        return Targets(
            observed=self._observed[rows],
            full=self._full[rows],
            pseudo=None if self._pseudo is None else self._pseudo[rows],
            soft=None if self._soft is None else self._soft[rows],
            estimated_logits=estimated_logits,
            epoch=epoch + 1,
        )

    def guesses_after(self, epoch: int) -> bool:
        """Whether `guess` is due after an epoch, counted from 0: after the last epoch of the warm-up and each
        later one except the run's last, from which nothing would be learned."""
        options = self._options
        return isinstance(options, EmApl) and max(options.warmup_epochs, 1) <= epoch + 1 < self._epochs

    def guess(self, logits: Tensor) -> None:
        """Makes one step of asymmetric pseudo-labelling with the logits [N, C] of all photographs."""
        assert self._soft is not None, "only `em_apl` has soft pseudo-labels"
        logits = logits.to(self._observed.device)
        self._soft = asymmetric_pseudo_labels(logits, self._observed, self._soft, self._quotas)

    def state(self) -> dict[str, Tensor]:
        """The tensors that `guess` changes."""
        return {} if self._soft is None else {"soft": self._soft}

    def load_state(self, tensors: Mapping[str, Tensor]) -> None:
        """Loads the result of `state`."""
        if self._soft is not None:
            self._soft = tensors["soft"].to(self._observed.device)


class LabelEstimator(nn.Module):
    """ROLE's label estimator: a logit for every label of every training photograph, trained beside the
    classifier."""

    def __init__(self, observed: Tensor) -> None:
        """`observed` [N, C] is in {-1, 0, 1}. As published, known labels start at a probability of 0.995 or
        0.005, the others at random between 0.4 and 0.6 (uniform in logits)."""
        super().__init__()
        logits = _logit(0.6) * (2 * torch.rand(observed.shape) - 1)
        logits[observed == 1], logits[observed == -1] = _logit(0.995), _logit(0.005)
        self.logits = nn.Parameter(logits)

    def forward(self, rows: Tensor) -> Tensor:
        """Logits [B, C] of the photographs `rows` [B]."""
        return self.logits[rows]


def _logit(probability: float) -> float:
    return math.log(probability / (1 - probability))
