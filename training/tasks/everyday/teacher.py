"""Guesses at the known words of photographs without dense labels, which become pseudo-labels: at first by
classifiers on frozen features, trained on the dense labels alone, and then by the network of the stage
before.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from sigrl.training.data.batches import derive_seed, seeded
from sigrl.training.loop.schedules import half_cosine
from sigrl.training.loop.state import read_state, write_state
from sigrl.training.tasks.everyday.batches import Supervision, endless_permutation
from sigrl.training.tasks.everyday.config import TeacherConfig
from sigrl.training.tasks.everyday.losses import known_loss
from sigrl.training.tasks.everyday.network import EverydayNetwork
from sigrl.training.terminal import progress_bar

_WARM_UP = 50
_ROWS = 4000
_BATCH = 200
_OWN, _MATCHED, _OFFSET = 0.7, 0.4, 0.1
"""Weights of a known word's own logit and of matching, and a constant: what `known_word_gains` found for an
earlier network, rounded."""


def teach(
    features: npt.NDArray[np.float16],
    known: npt.NDArray[np.int8],
    dense: npt.NDArray[np.integer],
    config: TeacherConfig,
    seed: int,
) -> Tensor:
    """Logits [N, K] float16 of all photographs, averaged over the classifiers.

    Args:
        features: standardised, [N, F].
        known: [N, K]: +1, -1, and 0 for entries left out of the loss.
        dense: rows to train on.
    """
    total = torch.zeros(known.shape)
    with progress_bar() as progress:
        bar = progress.add_task("teacher", total=config.members * config.steps, note="")
        for member in range(config.members):
            with seeded(derive_seed(seed, member)):
                classifier = _classifier(features.shape[1], known.shape[1], config.hidden)
                optimizer = torch.optim.AdamW(
                    classifier.parameters(), config.learning_rate, weight_decay=config.weight_decay
                )
                schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, half_cosine(_WARM_UP, config.steps))
                for step in range(config.steps):
                    rows = endless_permutation(dense, config.batch_size, seed + member, step)
                    labels = torch.from_numpy(known[rows])
                    logits = classifier(torch.from_numpy(features[rows]).float())
                    loss = known_loss(logits, (labels > 0).float(), (labels != 0).float())
                    optimizer.zero_grad()
                    loss.backward()
                    optimizer.step()
                    schedule.step()
                    progress.update(bar, advance=1, note=f"loss {loss.item():.2f}")
            total += _logits(classifier, features)
    return (total / config.members).half()


def _classifier(features: int, words: int, hidden: int) -> nn.Sequential:
    output = nn.Linear(hidden, words)
    nn.init.constant_(output.bias, -4.0)
    return nn.Sequential(nn.Dropout(0.3), nn.Linear(features, hidden), nn.GELU(), nn.Dropout(0.5), output)


@torch.inference_mode()
def _logits(classifier: nn.Module, features: npt.NDArray[np.float16]) -> Tensor:
    classifier.eval()
    parts = np.split(features, range(_ROWS, len(features), _ROWS))
    return torch.cat([classifier(torch.from_numpy(part).float()) for part in parts])


@torch.inference_mode()
def second_guess(supervision: Supervision, network: EverydayNetwork) -> Tensor:
    """Better logits [N, K] float16 for the photographs without dense labels: what the trained network says by
    its two heads together, on average over the photograph's rows; zeros for all other photographs. Leaves the
    network in evaluation mode."""
    total = torch.zeros(supervision.teacher.shape)
    count = torch.zeros(len(total), 1)
    network.eval()
    with progress_bar() as progress:
        bar = progress.add_task("second guess", total=len(supervision.others), note="")
        for rows in np.split(supervision.others, range(_BATCH, len(supervision.others), _BATCH)):
            untouched = torch.from_numpy(supervision.features.pooled[rows].astype(np.float32))
            seen = network(supervision.features.maps(rows), untouched, bfloat16=True)
            matched = network.heads.word_logits(seen, supervision.known_embeddings)
            photographs = torch.from_numpy(supervision.photograph_of[rows])
            total.index_add_(0, photographs, _OWN * seen.known + _MATCHED * matched + _OFFSET)
            count.index_add_(0, photographs, torch.ones(len(rows), 1))
            progress.advance(bar, len(rows))
    return (total / count.clip(1)).half()


def stored_logits(path: Path, identity: dict[str, Any], make: Callable[[], Tensor]) -> Tensor:
    """The logits in `path` if a run of this identity stored them, or those of `make`, which are stored."""
    if path.is_file():
        tensors, content = read_state(path)
        if content["identity"] == identity:
            return tensors["logits"]
    logits = make()
    write_state(path, {"logits": logits}, {"identity": identity})
    return logits
