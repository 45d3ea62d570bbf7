"""The result of a training, for the stages after it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from sigrl.model.kept_features import KeptFeatures, join, keep
from sigrl.model.vocabulary import Vocabulary
from sigrl.training.loop.state import write_state
from sigrl.training.tasks.everyday.config import EverydayConfig
from sigrl.training.tasks.everyday.data import dense_labels
from sigrl.training.tasks.everyday.frozen_features import FrozenFeatures
from sigrl.training.tasks.everyday.network import EverydayNetwork, Seen
from sigrl.training.tasks.everyday.photographs import Photograph, Role
from sigrl.training.tasks.everyday.start import Start
from sigrl.training.tasks.everyday.targets import Targets

PARTS = "parts.safetensors"
"""File of the trained parts in a run's directory."""
_BATCH = 200


@dataclass(frozen=True, eq=False)
class Trained:
    """A finished training on N photographs."""

    config: EverydayConfig
    """With the image size of the last stage."""
    directory: Path
    start: Start
    """The frozen towers: the tower's early stages, ImageNet's classifier, the sentence encoder."""
    vocabulary: Vocabulary
    names: tuple[str, ...]
    """The names that `everyday` was labelled with; they are the first of the known words."""
    photographs: tuple[Photograph, ...]
    """As their data sets describe them, with hidden labels, including photographs that were not trained
    on."""
    trained_on: npt.NDArray[np.bool_]
    """[N]."""
    features: FrozenFeatures
    """The frozen tower's features, in the photographs' order."""
    targets: Targets
    """The targets of the training, without hidden words."""
    hidden: tuple[str, ...]
    """Known words that were hidden from the training."""
    network: EverydayNetwork
    """In evaluation mode, with the averaged weights."""
    provenance: Mapping[str, Any]
    """For the manifest; `sources` is the table for the model card."""


def dense_rows(trained: Trained, *roles: Role, sought: bool) -> npt.NDArray[np.int64]:
    """The readable, densely labelled photographs of some roles; `sought`: including those that were searched
    for because of their content."""
    rows = [
        number
        for number, one in enumerate(trained.photographs)
        if one.dense
        and one.role in roles
        and (sought or not one.sought)
        and trained.features.readable[number]
    ]
    return np.array(rows, dtype=np.int64)


def known_labels(trained: Trained, rows: npt.NDArray[np.integer]) -> npt.NDArray[np.int8]:
    """Labels [n, K] of densely labelled photographs for the known words, including hidden ones: +1, -1, 0 for
    unknown."""
    labels = np.zeros((len(rows), len(trained.targets.known_words)), np.int8)
    labels[:, : len(trained.names)] = dense_labels([trained.photographs[row] for row in rows], trained.names)
    return labels


def write_parts(path: Path, network: EverydayNetwork, content: Mapping[str, Any]) -> None:
    """Writes the trained parts as safetensors, with `content` as JSON in the header."""
    write_state(path, network.state_dict(), content)


@torch.inference_mode()
def known_logits(trained: Trained, rows: npt.NDArray[np.integer]) -> npt.NDArray[np.float32]:
    """Logits [n, K] of the known words on some photographs; parents are not filled in."""
    return _logits(trained, rows, None)


@torch.inference_mode()
def open_logits(
    trained: Trained, rows: npt.NDArray[np.integer], embeddings: torch.Tensor
) -> npt.NDArray[np.float32]:
    """Logits [n, V] of words with sentence embeddings [V, E] on some photographs."""
    return _logits(trained, rows, embeddings)


def _logits(
    trained: Trained, rows: npt.NDArray[np.integer], embeddings: torch.Tensor | None
) -> npt.NDArray[np.float32]:
    parts = []
    for _, seen in _seen(trained, rows):
        logits = seen.known if embeddings is None else trained.network.heads.word_logits(seen, embeddings)
        parts.append(logits.numpy())
    return np.concatenate(parts)


def _seen(
    trained: Trained, rows: npt.NDArray[np.integer], *, bfloat16: bool = False
) -> Iterator[tuple[torch.Tensor, Seen]]:
    """The pooled features [B, 2 F] of the frozen blocks, and the network's output, batch by batch."""
    for part in np.split(rows, range(_BATCH, len(rows), _BATCH)):
        untouched = torch.from_numpy(trained.features.pooled[part].astype(np.float32))
        yield untouched, trained.network(trained.features.maps(part), untouched, bfloat16=bfloat16)


def _word_logits(
    trained: Trained, untouched: torch.Tensor, seen: Seen, words: npt.NDArray[np.integer]
) -> npt.NDArray[np.float32]:
    """The image tower's logits [B, K + classes], of the known words `words` and of the classes."""
    weight, bias = trained.start.classifier
    classes = untouched[:, : weight.shape[1]] @ weight.T + bias
    logits: npt.NDArray[np.float32] = torch.cat([seen.known[:, words], classes], dim=1).numpy()
    return logits


@torch.inference_mode()
def keep_photographs(
    trained: Trained, rows: npt.NDArray[np.integer], words: npt.NDArray[np.integer]
) -> KeptFeatures:
    """The stored features of at least one photograph, as an engine stores them; `words` are the known words
    with their own logit."""
    return join(
        [
            keep(seen.embedding.numpy(), seen.tokens.numpy(), _word_logits(trained, untouched, seen, words))
            for untouched, seen in _seen(trained, rows)
        ]
    )


@torch.inference_mode()
def tower_logits(
    trained: Trained, rows: npt.NDArray[np.integer], words: npt.NDArray[np.integer]
) -> npt.NDArray[np.float32]:
    """The image tower's logits [n, K + classes] on some photographs; `words` are the known words with their
    own logit. The convolutions are computed in bfloat16, as in training."""
    return np.concatenate(
        [
            _word_logits(trained, untouched, seen, words)
            for untouched, seen in _seen(trained, rows, bfloat16=True)
        ]
    )


@torch.inference_mode()
def text_vectors(trained: Trained, texts: Sequence[str], description: str) -> npt.NDArray[np.float32]:
    """Embeddings [N, E] of texts in the joint space, with unit norm; `description` is shown in the progress
    bar."""
    embeddings = trained.start.text_embeddings(texts, trained.config.cache, description)
    vectors: npt.NDArray[np.float32] = functional.normalize(
        trained.network.heads.text_map(embeddings), dim=-1
    ).numpy()
    return vectors
