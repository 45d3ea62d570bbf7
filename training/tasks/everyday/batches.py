"""The batch of a training step, as a function of the seed and the step; none of it is state."""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sigrl.training.data.batches import derive_seed
from sigrl.training.data.dataset import DataError
from sigrl.training.tasks.everyday.config import Batch
from sigrl.training.tasks.everyday.frozen_features import FrozenFeatures
from sigrl.training.tasks.everyday.targets import Targets


def endless_permutation(
    rows: npt.NDArray[np.integer], count: int, seed: int, step: int
) -> npt.NDArray[np.integer]:
    """The `step`-th group of `count` of the `rows`, in random order: every row occurs once before any is
    repeated, except for the remainder of an order. All rows, if there are fewer than `count`."""
    count = min(count, len(rows))
    epoch, place = divmod(step, len(rows) // count)
    order = np.random.default_rng([seed, epoch]).permutation(rows)
    return order[place * count : (place + 1) * count]


@dataclass(frozen=True)
class Supervision:
    """All data from which batches are drawn, for N photographs and R - N views of them."""

    features: FrozenFeatures
    photograph_of: npt.NDArray[np.integer]
    """[R]: the photograph that each row of the features shows; the first N rows are the photographs."""
    targets: Targets
    teacher: Tensor
    """[N, K] float16 logits."""
    dense: npt.NDArray[np.integer]
    """Rows of the densely labelled photographs to train on, and of their views."""
    others: npt.NDArray[np.integer]
    """Rows of the other photographs to train on, and of their views."""
    weights: npt.NDArray[np.floating]
    """Probability of drawing each of `others`; they sum to 1."""
    known_embeddings: Tensor
    """[K, E]: sentence embeddings of the known words."""
    word_embeddings: Tensor
    """[V, E]: sentence embeddings of the other words."""
    captions: Mapping[int, npt.NDArray[np.integer]]
    """Photograph -> rows of its captions in `caption_embeddings`; photographs without captions have no
    entry."""
    caption_embeddings: Tensor
    """[M, E] float16."""

    def __post_init__(self) -> None:
        if not len(self.dense) or not len(self.others):
            raise DataError(
                "training needs photographs with dense labels and others without, and one kind is missing: "
                "name more sources, or hide fewer words"
            )

    def seen_as(self, features: FrozenFeatures, photograph_of: npt.NDArray[np.integer]) -> "Supervision":
        """The same supervision with rows that may show a photograph several times; `self` has one row for
        each. A photograph is drawn as often as before, and each of its readable rows equally often."""
        weight_of = np.zeros(len(self.teacher))
        weight_of[self.others] = self.weights
        dense = np.flatnonzero(np.isin(photograph_of, self.dense) & features.readable)
        others = np.flatnonzero((weight_of[photograph_of] > 0) & features.readable)
        rows_of = np.bincount(photograph_of[others], minlength=len(weight_of))
        weights = (weight_of / rows_of.clip(1))[photograph_of[others]]
        return replace(
            self,
            features=features,
            photograph_of=photograph_of,
            dense=dense,
            others=others,
            weights=weights / weights.sum(),
        )


@dataclass(frozen=True)
class TrainingBatch:
    """B photographs; the first `dense` of them have dense labels."""

    dense: int
    maps: Tensor
    """[B, C, h, w]."""
    untouched: Tensor
    """[B, 2 F]."""
    known: Tensor
    """[B, K]: +1, -1, 0."""
    teacher: Tensor
    """[B - dense, K]: logits of the photographs without dense labels."""
    word_embeddings: Tensor
    """[W, E]: embeddings of the words in this step."""
    mentioned: Tensor
    """[B, W], 0 or 1."""
    described: Tensor
    """[B], 0 or 1: whether the photograph has a caption."""
    captioned: Tensor
    """[n] indices in the batch of the photographs with captions."""
    caption_embeddings: Tensor
    """[n, E]: one caption for each of these."""


class Batches:
    """Draws and gathers batches."""

    def __init__(self, supervision: Supervision, config: Batch, seed: int) -> None:
        self._from = supervision
        self._config = config
        self._seed = seed

    def between(self, first: int, last: int) -> Iterator[TrainingBatch]:
        """The batches of the steps `first` to `last` - 1; the next one is gathered while one is trained
        on."""
        with ThreadPoolExecutor(1) as pool:
            following = pool.submit(self.at, first)
            for step in range(first, last):
                batch = following.result()
                if step + 1 < last:
                    following = pool.submit(self.at, step + 1)
                yield batch

    def at(self, step: int) -> TrainingBatch:
        """The batch of a step, counted from 0."""
        draw = np.random.default_rng(derive_seed(self._seed, step))
        source, targets = self._from, self._from.targets
        dense = endless_permutation(source.dense, self._config.dense, self._seed, step)
        count = min(self._config.others, int((source.weights > 0).sum()))
        others = draw.choice(source.others, count, replace=False, p=source.weights)
        rows = np.concatenate([dense, others])
        shown = source.photograph_of[rows]
        words = self._words(shown, draw)
        place = {word: number for number, word in enumerate(words.tolist())}
        mentioned = torch.zeros(len(rows), len(words))
        for number, photograph in enumerate(shown.tolist()):
            for word in targets.mentions[photograph]:
                if word in place:
                    mentioned[number, place[word]] = 1
        captioned = [number for number, one in enumerate(shown.tolist()) if one in source.captions]
        captions = [draw.choice(source.captions[int(shown[number])]) for number in captioned]
        described = torch.zeros(len(rows))
        described[captioned] = 1
        return TrainingBatch(
            dense=len(dense),
            maps=source.features.maps(rows),
            untouched=torch.from_numpy(source.features.pooled[rows].astype(np.float32)),
            known=torch.from_numpy(targets.known[shown]),
            teacher=source.teacher[shown[len(dense) :]].float(),
            word_embeddings=source.word_embeddings[words],
            mentioned=mentioned,
            described=described,
            captioned=torch.tensor(captioned, dtype=torch.long),
            caption_embeddings=source.caption_embeddings[np.array(captions, dtype=np.int64)].float(),
        )

    def _words(self, shown: npt.NDArray[np.integer], draw: np.random.Generator) -> npt.NDArray[np.int64]:
        mentions, count = self._from.targets.mentions, len(self._from.targets.words)
        of_batch = np.unique([word for one in shown.tolist() for word in mentions[one]]).astype(np.int64)
        if len(of_batch) > self._config.words:
            of_batch = draw.choice(of_batch, self._config.words, replace=False)
        anything = draw.integers(count, size=self._config.random_words if count else 0)
        return np.union1d(of_batch, anything)
