"""The graph over known words: some words on a photograph are evidence for or against others.

A classifier's scores on its own training photographs leave a graph nothing to learn. So two classifiers each
learn from one half of the densely labelled photographs and score the other half.
"""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from sigrl.training.data.batches import seeded
from sigrl.training.tasks.everyday.config import GraphConfig
from sigrl.training.tasks.everyday.draft import Draft
from sigrl.training.tasks.everyday.frozen_features import standardised
from sigrl.training.tasks.everyday.teacher import teach
from sigrl.training.terminal import progress_bar

Array = npt.NDArray[np.float32]

_RATE = 3e-3
_BATCH = 256
_KEY_DEVIATION = 0.3
"""Deviation of the initial keys; queries start at 0, so that the graph has no effect at first."""
_KEEP = 5.0
"""Strength of the penalty on scale and shift of the scores, per photograph of a batch."""


def graph_arrays(draft: Draft) -> dict[str, Array]:
    """`graph_query` and `graph_key` [E, rank] for an evidence head; empty with too few photographs."""
    trained = draft.trained
    is_dense = np.array([one.dense for one in trained.photographs])
    rows = np.flatnonzero(trained.trained_on & is_dense)
    if len(rows) < 2:
        return {}
    labels = trained.targets.known[rows][:, draft.words]
    features = standardised(trained.features.pooled[rows], np.arange(len(rows)))
    logits = crosswise_logits(draft, features, labels)
    config, seed = trained.config.graph, trained.config.training.seed
    query, key = fit_graph(logits, labels, draft.arrays["known_labels"], config, seed)
    return {"graph_query": query, "graph_key": key}


def crosswise_logits(draft: Draft, features: npt.NDArray[np.float16], labels: npt.NDArray[np.int8]) -> Array:
    """Logits [n, K] of photographs with features [n, F] and labels [n, K], each from the classifier that was
    not trained on it."""
    config, seed = draft.trained.config, draft.trained.config.training.seed
    teacher = config.teacher.model_copy(update={"members": 1, "steps": config.graph.teacher_steps})
    halves = np.array_split(np.random.default_rng(seed).permutation(len(labels)), 2)
    logits = np.zeros(labels.shape, np.float32)
    for learned, scored in (halves, halves[::-1]):
        logits[scored] = teach(features, labels, learned, teacher, seed)[scored].float().numpy()
    return logits


def fit_graph(
    logits: Array, labels: npt.NDArray[np.int8], embeddings: Array, config: GraphConfig, seed: int
) -> tuple[Array, Array]:
    """Query and key [E, rank] of words with embeddings [K, E], fitted to logits and labels [n, K]."""
    width, words = embeddings.shape[1], torch.from_numpy(embeddings)
    given, known = torch.from_numpy(logits), torch.from_numpy(labels)
    prior = torch.sigmoid(given).mean(0)
    with seeded(seed), progress_bar() as progress:
        bar = progress.add_task("graph", total=config.steps, note="")
        query = torch.zeros(width, config.rank, requires_grad=True)
        key = (_KEY_DEVIATION * torch.randn(width, config.rank)).requires_grad_()
        scale = torch.ones(len(words), requires_grad=True)
        shift = torch.zeros(len(words), requires_grad=True)
        optimizer = torch.optim.AdamW(
            [
                {"params": [query, key], "weight_decay": config.weight_decay},
                {"params": [scale, shift], "weight_decay": 0.0},
            ],
            lr=_RATE,
        )
        for _ in range(config.steps):
            rows = torch.randint(len(given), (_BATCH,))
            scores = given[rows] * scale + shift
            corrected = scores + (torch.sigmoid(scores) - prior) @ (words @ key) @ (words @ query).T
            loss = _loss(corrected, known[rows])
            penalty = (scale - 1).square().sum() + shift.square().sum()
            optimizer.zero_grad()
            (loss + _KEEP / _BATCH * penalty).backward()
            optimizer.step()
            progress.update(bar, advance=1, note=f"loss {loss.item():.2f}")
    return query.detach().numpy(), key.detach().numpy()


def _loss(logits: Tensor, labels: Tensor) -> Tensor:
    losses = functional.binary_cross_entropy_with_logits(logits, (labels > 0).float(), reduction="none")
    return (losses * (labels != 0)).sum(1).mean()
