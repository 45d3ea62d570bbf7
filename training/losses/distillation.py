"""How far a student's output is from its teacher's, as pure functions."""

from torch import Tensor
from torch.nn import functional


def relative_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """Squared distance [] of vectors [..., D] as a share of the teacher's squared norms: 0 if they are alike,
    1 for a student that is 0."""
    return (student - teacher).square().sum() / teacher.square().sum().clamp(min=1e-12)


def words_divergence(student: Tensor, teacher: Tensor) -> Tensor:
    """Divergence [] of the probabilities of independent words with logits [B, K]: 0 if they are alike.
    Sum over words, mean over B."""
    targets = teacher.sigmoid()
    crossed = functional.binary_cross_entropy_with_logits(student, targets, reduction="none")
    entropy = functional.binary_cross_entropy_with_logits(teacher, targets, reduction="none")
    return (crossed - entropy).sum(dim=1).mean()
