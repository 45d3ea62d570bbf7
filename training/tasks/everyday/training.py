"""The resumable training of the last blocks and the heads.

The loop of `training.loop` is not used: it counts epochs over one data set, while this training counts steps
that each draw from two sets of cached features.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.utils import clip_grad_norm_

from sigrl.training.data.batches import derive_seed, seeded
from sigrl.training.data.dataset import DataError
from sigrl.training.loop.averaging import AveragedWeights
from sigrl.training.loop.log import RunLog
from sigrl.training.loop.schedules import half_cosine
from sigrl.training.loop.state import load_optimizer_tensors, optimizer_tensors, read_state, write_state
from sigrl.training.losses import caption_loss, cosine_distance
from sigrl.training.tasks.everyday.batches import Batches, Supervision, TrainingBatch
from sigrl.training.tasks.everyday.bridge import Bridge
from sigrl.training.tasks.everyday.config import LossWeights, Rates, TrainingSettings
from sigrl.training.tasks.everyday.losses import guess, known_loss, mention_loss
from sigrl.training.tasks.everyday.network import EverydayNetwork

STATE = "state.safetensors"
_WARM_UP = 50
_LAST_RATE = 0.02
"""The final rate as a share of the highest."""


def train_network(
    network: EverydayNetwork,
    supervision: Supervision,
    bridge: Bridge,
    settings: TrainingSettings,
    directory: Path,
    identity: Mapping[str, Any],
) -> None:
    """Trains `network`, or resumes an interrupted run in `directory`; at the end it has the moving average of
    its weights.

    `identity` identifies the run, as JSON. Raises DataError if `directory` has another run.
    """
    trainer = _Trainer(network, supervision, bridge, settings)
    done, written = 0, 0
    if (directory / STATE).is_file():
        tensors, content = read_state(directory / STATE)
        if content["identity"] != identity:
            raise DataError(
                f"{directory} has a run with another configuration or other data: name a new directory"
            )
        trainer.load(tensors)
        done, written = content["step"], content["log_bytes"]
    batches = Batches(supervision, settings.batch, settings.seed)
    with RunLog(directory, settings.steps, done, written, tensorboard=False, main=True) as log:
        for step, batch in enumerate(batches.between(done, settings.steps), start=done):
            losses = trainer.step(batch, step)
            log.count(len(batch.maps), 0, losses["loss"])
            last = step + 1 == settings.steps
            if last or (step + 1) % settings.save_every == 0:
                log.write(step + 1, 0, losses, speed=True)
                content = {"identity": dict(identity), "step": step + 1, "log_bytes": log.written()}
                write_state(directory / STATE, trainer.tensors(), content)
    trainer.take_averages()


class _Trainer:
    def __init__(
        self,
        network: EverydayNetwork,
        supervision: Supervision,
        bridge: Bridge,
        settings: TrainingSettings,
    ) -> None:
        self._network = network
        self._bridge = bridge
        self._settings = settings
        self._known_embeddings = supervision.known_embeddings
        known = supervision.targets.known[supervision.photograph_of[supervision.dense]]
        self._guessed = torch.from_numpy((known != 0).any(axis=0))
        """[K]: words with dense labels, which are the ones that the teacher has learned."""
        self._averages = AveragedWeights(network, settings.averaging)
        self._optimizer = torch.optim.AdamW(_groups(network, settings.rates))
        self._rate = half_cosine(_WARM_UP, settings.steps, _LAST_RATE)

    def step(self, batch: TrainingBatch, step: int) -> dict[str, float]:
        """Makes a step, counted from 0, and returns the losses by name. Raises DataError when the loss is not
        finite."""
        for group in self._optimizer.param_groups:
            group["lr"] = group["highest_rate"] * self._rate(step)
        targets, counted = self._targets(batch, step)
        self._network.train()
        with seeded(derive_seed(self._settings.seed, step)):
            losses = self._losses(batch, targets, counted)
        weights = self._settings.losses.model_dump()
        loss = torch.stack([weights[name] * value for name, value in losses.items()]).sum()
        if not loss.isfinite():
            raise DataError(f"the loss is {loss.item()} at step {step + 1}: lower the learning rates")
        self._optimizer.zero_grad()
        loss.backward()
        clip_grad_norm_(self._network.parameters(), self._settings.clip_norm)
        self._optimizer.step()
        self._averages.update(step + 1)
        return {"loss": loss.item(), **{name: value.item() for name, value in losses.items()}}

    @torch.no_grad()
    def _targets(self, batch: TrainingBatch, step: int) -> tuple[Tensor, Tensor]:
        """Targets [B, K] in 0..1 and where they count [B, K]: labels where they are known, and pseudo-labels
        elsewhere on photographs without dense labels."""
        settings = self._settings
        grown = min(1.0, step / (settings.own_share_from * settings.steps))
        own_share = settings.own_share * grown
        own = batch.teacher
        if own_share > 0:
            self._network.eval()
            with self._averages.applied():
                maps, untouched = batch.maps[batch.dense :], batch.untouched[batch.dense :]
                own = self._network(maps, untouched, bfloat16=True).known
        is_known = batch.known != 0
        targets, counted = (batch.known > 0).float(), is_known.float()
        guesses = guess(batch.teacher, own, own_share)
        others = slice(batch.dense, None)
        targets[others] = torch.where(is_known[others], targets[others], guesses)
        counted[others] = torch.maximum(counted[others], self._guessed.float())
        return targets, counted

    def _losses(self, batch: TrainingBatch, targets: Tensor, counted: Tensor) -> dict[str, Tensor]:
        heads = self._network.heads
        seen = self._network(batch.maps, batch.untouched, bfloat16=True)
        known = len(self._known_embeddings)
        words = torch.cat([self._known_embeddings, batch.word_embeddings])
        logits = heads.word_logits(seen, words)
        captions = functional.normalize(heads.text_map(batch.caption_embeddings), dim=-1)
        images = functional.normalize(seen.embedding[batch.captioned], dim=-1)
        bridge = self._bridge(batch.untouched) @ heads.text_map.weight.detach().T
        losses = {
            "known_words": known_loss(seen.known, targets, counted),
            "open_words": known_loss(logits[:, :known], targets, counted),
            "mentions": mention_loss(
                logits[:, known:] + heads.mention_bias, batch.mentioned, batch.described
            ),
            "captions": caption_loss(images, captions, heads.log_caption_scale.exp()),
            "bridge": cosine_distance(seen.embedding, bridge),
        }
        assert losses.keys() == LossWeights.model_fields.keys()
        return losses

    def tensors(self) -> dict[str, Tensor]:
        """All tensors that a step changes."""
        parts: dict[str, Mapping[str, Tensor]] = {
            "network": dict(self._network.named_parameters()),
            "average": self._averages.averages,
            "optimizer": optimizer_tensors(self._optimizer),
        }
        return {f"{part}/{name}": one for part, tensors in parts.items() for name, one in tensors.items()}

    @torch.no_grad()
    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Loads the result of `tensors`."""

        def of(part: str) -> dict[str, Tensor]:
            prefix = f"{part}/"
            return {name[len(prefix) :]: one for name, one in tensors.items() if name.startswith(prefix)}

        for name, tensor in of("network").items():
            self._network.get_parameter(name).copy_(tensor)
        self._averages.load(of("average"))
        load_optimizer_tensors(self._optimizer, of("optimizer"))

    @torch.no_grad()
    def take_averages(self) -> None:
        """Replaces the last weights by the averaged ones."""
        for name, average in self._averages.averages.items():
            self._network.get_parameter(name).copy_(average)
        self._network.eval()


def _groups(network: EverydayNetwork, rates: Rates) -> list[dict[str, Any]]:
    heads = network.heads
    scales = [
        *(heads.log_global_scale, heads.log_local_scale, heads.bias),
        *(heads.mention_bias, heads.log_caption_scale),
    ]
    embedding = [
        *(*heads.embedding.parameters(), *heads.residual.parameters(), *heads.tokens.parameters()),
        *scales,
    ]
    known = [*heads.hidden.parameters(), *heads.known_words.parameters()]
    parts = [
        ([*network.blocks.parameters()], rates.tower, rates.tower_decay),
        (known, rates.known_words, rates.known_words_decay),
        (embedding, rates.embedding, rates.embedding_decay),
        ([*heads.text_map.parameters()], rates.text_map, 0.0),
    ]
    return [
        {"params": parameters, "lr": rate, "highest_rate": rate, "weight_decay": decay}
        for parameters, rate, decay in parts
    ]
