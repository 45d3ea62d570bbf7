"""Distillation as a task of the training loop."""

from dataclasses import dataclass
from functools import partial

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim import AdamW
from torch.utils.data import DataLoader

from sigrl.model.features import LabelFeatures
from sigrl.model.matching import MatchingHead
from sigrl.training.data.batches import Draw
from sigrl.training.loop.task import Schedule, StepOutput
from sigrl.training.losses.distillation import relative_distance, words_divergence
from sigrl.training.tasks.bundled.fit import sampled_context
from sigrl.training.tasks.distillation.photographs import Item, StudyPhotographs
from sigrl.training.tasks.distillation.student import Seen, Student

DRAWN_NAMES = 256
"""Names whose scores are compared in a step."""
_CONTEXT = 8
"""Number of context labels that SVFR uses in a step, for speed."""
_BLOCKS_SCALE = 0.2
"""Learning rate of ImageNet's blocks relative to that of the new linear maps."""
_WEIGHT_DECAY = 0.02
_WEIGHTS = {"embeddings": 1.0, "tokens": 1.0, "scores": 0.1, "words": 0.1}
"""The words' divergence is a sum over all words."""
_SCORED = 64
"""Photographs in a batch that is only measured."""


@dataclass
class DistillationTask:
    """See `training.loop.task.Task`."""

    module: Student
    schedule: Schedule
    train_data: StudyPhotographs
    held_out: StudyPhotographs
    head: MatchingHead
    """The teacher's."""
    names: Tensor
    """[V, D]: refined embeddings of names whose scores the student learns."""
    grid: tuple[int, int]
    known_words: int
    """Number of first columns of the words' logits that are words; the others are classes, of a classifier
    that the student has of its own."""
    measure: str = "held out/agreement"

    def optimizer(self) -> AdamW:
        """AdamW."""
        blocks = {"params": self.module.blocks(), "lr_scale": _BLOCKS_SCALE}
        return AdamW([blocks, {"params": self.module.heads()}], weight_decay=_WEIGHT_DECAY)

    def training_step(self, module: nn.Module, batch: Item) -> StepOutput:
        """The distance from the teacher: of embeddings, tokens, scores of names, and words' logits."""
        maps, untouched, rows = batch
        drawn = torch.randperm(len(self.names))[:DRAWN_NAMES]
        parts = self._distances(
            Seen(*module(maps.float(), untouched.float())), rows, self.names[drawn].to(maps.device)
        )
        loss = torch.stack([_WEIGHTS[name] * part for name, part in parts.items()]).sum()
        return StepOutput(loss, parts)

    @torch.no_grad()
    def evaluate(self, accelerator: Accelerator) -> dict[str, float]:
        """The share of the teacher's output on held-out photographs that the student explains, in percent."""
        draws = [Draw(row, seed=0) for row in range(len(self.held_out))]
        batches = [draws[at : at + _SCORED] for at in range(0, len(draws), _SCORED)]
        found = torch.zeros(2)
        for batch in DataLoader(self.held_out, batch_sampler=batches):
            maps, untouched, rows = (one.to(accelerator.device) for one in batch)
            seen = Seen(*self.module(maps.float(), untouched.float()))
            wanted = self.held_out.unpacked(rows)
            pairs = (seen.embeddings, wanted.embeddings), (seen.tokens, wanted.tokens)
            found += len(maps) * torch.stack([relative_distance(*pair).cpu() for pair in pairs])
        embeddings, tokens = (100 * (1 - found / len(self.held_out))).tolist()
        mean = (embeddings + tokens) / 2
        return {self.measure: mean, "held out/embeddings": embeddings, "held out/tokens": tokens}

    def _distances(self, seen: Seen, rows: Tensor, names: Tensor) -> dict[str, Tensor]:
        wanted = self.train_data.unpacked(rows)
        parts = {
            "embeddings": relative_distance(seen.embeddings, wanted.embeddings),
            "tokens": relative_distance(seen.tokens, wanted.tokens),
        }
        with sampled_context(self.head, _CONTEXT):
            score = partial(self.head.score, label_features=LabelFeatures(names, names))
            scores = (score(one.features(self.grid)) for one in (seen, wanted))
            parts["scores"] = nn.functional.mse_loss(*scores)
        if seen.word_logits.shape[1]:
            words = slice(self.known_words)
            parts["words"] = words_divergence(seen.word_logits[:, words], wanted.word_logits[:, words])
        return parts
