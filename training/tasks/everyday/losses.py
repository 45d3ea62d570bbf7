"""Losses of this recipe beyond those of the older one, as pure functions."""

from torch import Tensor
from torch.nn import functional

_ABSENCE = 0.3
"""Weight of a word that a caption does not mention, because captions leave out most of what is visible."""


def known_loss(logits: Tensor, targets: Tensor, counted: Tensor) -> Tensor:
    """Binary cross-entropy [] of logits [B, K] against targets [B, K] in 0..1 where `counted` [B, K] is 1:
    sum over words, mean over B."""
    losses = functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    return (losses * counted).sum(1).mean()


def mention_loss(logits: Tensor, mentioned: Tensor, described: Tensor) -> Tensor:
    """Binary cross-entropy [] of words' logits [B, V] against mentions in texts [B, V], 0 or 1.

    A word that is not mentioned counts little. Without a caption, where `described` [B] is 0, it counts
    nothing, because a class name says one thing and leaves out the rest. Sum over words, mean over B.
    """
    losses = functional.binary_cross_entropy_with_logits(logits, mentioned, reduction="none")
    weights = mentioned + (1 - mentioned) * _ABSENCE * described.unsqueeze(1)
    return (losses * weights).sum(1).mean()


def guess(teacher: Tensor, own: Tensor, own_share: float) -> Tensor:
    """Probabilities [B, K] from two sets of logits, the second with weight `own_share`."""
    return ((1 - own_share) * teacher + own_share * own).sigmoid()
