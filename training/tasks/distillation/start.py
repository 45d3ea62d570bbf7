"""The student's linear maps before the first step, solved in closed form on some of the photographs.

Each map is the ridge regression of the teacher's output on ImageNet's features, so training begins with what
a frozen trunk can do, and its few epochs go into the last blocks.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from sigrl.training.data.batches import Draw
from sigrl.training.tasks.distillation.photographs import StudyPhotographs
from sigrl.training.tasks.distillation.student import StandardisedLinear, Student

_PHOTOGRAPHS = 4096
"""Largest number of photographs for the maps of pooled features."""
_MAPPED = 512
"""Largest number of photographs for the map of tokens, each of which has many positions."""
_BATCH = 32
_STRENGTH = 0.1
"""Weight of the penalty, for features of unit variance."""
_LOWEST_LOGIT = -9.0
"""A word is as good as absent below; how far below says nothing about the photograph."""
_LEAST_DEVIATION = 0.05
"""Of features, so that a nearly constant one is not blown up when it is standardised."""


@torch.no_grad()
def solve_linear_maps(student: Student, photographs: StudyPhotographs, known_words: int) -> None:
    """Sets the linear maps of `student` in place; `known_words` is K."""
    rows = [photographs[Draw(row, 0)] for row in range(min(_PHOTOGRAPHS, len(photographs)))]
    mapped = rows[:_MAPPED]
    found = torch.cat(
        [
            student.feature_map(torch.stack([row[0] for row in mapped[at : at + _BATCH]]).float())
            for at in range(0, len(mapped), _BATCH)
        ]
    )
    seen = photographs.unpacked(torch.stack([row[2] for row in rows]))
    positions, tokens = found.flatten(2).mT.flatten(0, 1), seen.tokens[: len(mapped)].flatten(0, 1)
    tower = student.visual
    if not student.has_words:
        means = found.mean(dim=(2, 3))
        _solve(
            tower.head.proj,
            torch.cat([means, positions]),
            torch.cat([seen.embeddings[: len(mapped)], tokens]),
        )
        return
    # Before training, the tuned blocks compute the same as the frozen ones.
    untouched = torch.stack([row[1] for row in rows]).float()
    _solve(tower.embedding, untouched, seen.embeddings)
    _solve(tower.tokens, positions, tokens)
    nn.init.zeros_(tower.embedding_residual.weight)
    nn.init.zeros_(tower.embedding_residual.bias)
    both = torch.cat([untouched, untouched], dim=1)
    _standardise(tower.hidden, both)
    hidden = tower.hidden.linear
    nn.init.normal_(hidden.weight, std=hidden.in_features**-0.5)
    nn.init.zeros_(hidden.bias)
    words = seen.word_logits[:, :known_words].clamp(min=_LOWEST_LOGIT)
    weight, bias = ridge(functional.gelu(tower.hidden(both)), words)
    tower.words.weight.copy_(weight)
    tower.words.bias.copy_(bias)


def _standardise(of: StandardisedLinear, features: Tensor) -> None:
    """Sets the statistics to those of features [N, F]."""
    of.mean.copy_(features.mean(0))
    of.deviation.copy_(features.std(0).clamp(min=_LEAST_DEVIATION))


def _solve(of: StandardisedLinear, features: Tensor, targets: Tensor) -> None:
    """Sets the map to the ridge regression of targets [N, D] on features [N, F]."""
    _standardise(of, features)
    weight, bias = ridge((features - of.mean) / of.deviation, targets)
    of.linear.weight.copy_(weight)
    of.linear.bias.copy_(bias)


def ridge(features: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Weight [D, F] and bias [D] with the least squared distance of features [N, F] from targets [N, D], plus
    a penalty on weights of standardised features."""
    mean, deviation = features.mean(0), features.std(0).clamp(min=1e-3)
    standardised, middle = (features - mean) / deviation, targets.mean(0)
    moments = standardised.T @ standardised / len(features) + _STRENGTH * torch.eye(features.shape[1])
    solved = torch.linalg.solve(moments, standardised.T @ (targets - middle) / len(features))
    weight = (solved / deviation[:, None]).T
    return weight, middle - weight @ mean
