"""Trains a head on frozen towers.

The towers' tokens are computed once. In the context form the head learns each label separately; on names
drawn from the label lists it is kept close to the scores of the towers alone, so that it does not forget
them. In the published form, where a score is only meaningful among its photograph's labels, it learns to rank
them.

The resumable loop is not used: a fit takes minutes, and its random stream fixes the published checkpoint.
"""

import math
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from sigrl.model.backbone import Backbone
from sigrl.model.features import ImageFeatures, LabelFeatures
from sigrl.model.heads import SigRLHead, create_head
from sigrl.model.matching import MatchingHead
from sigrl.model.vocabulary import Vocabulary
from sigrl.training.loop.schedules import half_cosine
from sigrl.training.losses import label_loss
from sigrl.training.losses.open_vocabulary import ranking_loss
from sigrl.training.measures.metrics import f1_threshold
from sigrl.training.tasks.bundled.config import FitConfig, TrainingConfig
from sigrl.training.tasks.bundled.supervision import Supervision, load_supervision
from sigrl.training.tasks.bundled.towers import tower_outputs
from sigrl.training.terminal import progress_bar


@dataclass(frozen=True)
class Prepared:
    """The data that every fit on the same towers shares."""

    outputs: Tensor
    """[N, 1 + P, D] float16: see `tower_outputs`."""
    labels: Tensor
    """[C, D]: embeddings of the trained labels."""
    names: Tensor
    """[V, D]: embeddings of the label lists' names."""
    supervision: Supervision
    trained: Tensor
    """Rows of `outputs` to train on."""
    held_out: Tensor
    """The other rows."""


def prepare(
    config: TrainingConfig, backbone: Backbone, cache: Path, photographs: int | None = None
) -> Prepared:
    """Runs the towers once over the photographs and texts of the training split; if `photographs` is given,
    only over so many of those that are trained on, in random order."""
    torch.set_num_threads(config.threads)
    supervision = load_supervision(config.data)
    order = torch.randperm(len(supervision.image_paths), generator=torch.Generator().manual_seed(0))
    held_out = round(config.fit.held_out * len(order))
    if photographs is not None:
        supervision = supervision.select(order[held_out:][:photographs])
        order, held_out = torch.arange(len(supervision.image_paths)), 0
    outputs = tower_outputs(backbone, supervision.image_paths, config.pretrain, cache)
    with torch.inference_mode():
        labels = backbone.encode_labels(Vocabulary.from_names(supervision.label_names).labels)
        names = backbone.encode_labels(Vocabulary.from_names(supervision.names).labels)
    return Prepared(outputs, labels.clone(), names.clone(), supervision, order[held_out:], order[:held_out])


def fit_head(settings: FitConfig, towers_head: MatchingHead, prepared: Prepared) -> MatchingHead:
    """A new, trained head; see `new_head` and `train_head`."""
    return train_head(new_head(settings, towers_head, prepared), settings, towers_head, prepared)


def new_head(settings: FitConfig, towers_head: MatchingHead, prepared: Prepared) -> MatchingHead:
    """The configured head before training. It takes over the scales of `towers_head`, the head that the
    towers were trained with."""
    torch.manual_seed(settings.seed)
    in_context = settings.head.kind == "sigrl" and settings.head.form == "context"
    context_labels = prepared.supervision.label_names if in_context else ()
    head_config = settings.head.model_copy(update={"context_labels": context_labels})
    head = create_head(head_config, prepared.labels.shape[1], dropout=settings.dropout)
    if isinstance(head, SigRLHead) and in_context:
        head.set_context(prepared.labels)
    _start_from(head, towers_head)
    return head


def train_head(
    head: MatchingHead, settings: FitConfig, towers_head: MatchingHead, prepared: Prepared
) -> MatchingHead:
    """Trains a head in place and returns it; a head without parameters stays unchanged. In the context form
    it is kept close to the scores of `towers_head` for the names."""
    if any(True for _ in head.parameters()):
        _train(head, towers_head, prepared, settings)
    return head.eval()


def choose_threshold(head: MatchingHead, prepared: Prepared) -> float:
    """The probability that decides best on the held-out photographs, one for all trained labels."""
    logits = predict(head, prepared.outputs[prepared.held_out], prepared.labels)
    targets = prepared.supervision.labels[prepared.held_out]
    return f1_threshold(logits.sigmoid().numpy(), targets.numpy())[0]


def image_batch(outputs: Tensor) -> ImageFeatures:
    """Image features of tower outputs [B, 1 + P, D]: the image embedding, then the patch tokens."""
    outputs = outputs.float()
    side = math.isqrt(outputs.shape[1] - 1)
    return ImageFeatures(outputs[:, 0], outputs[:, 1:], (side, (outputs.shape[1] - 1) // side))


@torch.inference_mode()
def predict(head: MatchingHead, outputs: Tensor, label_embeddings: Tensor) -> Tensor:
    """Logits [N, C] for tower outputs [N, 1 + P, D]."""
    labels = head.label_features(label_embeddings)
    with progress_bar() as progress:
        task = progress.add_task("score", total=len(outputs), note="")
        parts = []
        for batch in outputs.split(100):
            parts.append(head.score(image_batch(batch), labels))
            progress.update(task, advance=len(batch))
    return torch.cat(parts)


@torch.no_grad()
def _start_from(head: MatchingHead, towers_head: MatchingHead) -> None:
    """Copies the scales that the two heads share."""
    shared = dict(towers_head.named_parameters())
    for name, parameter in head.named_parameters():
        if name in shared:
            parameter.copy_(shared[name])


def _train(head: MatchingHead, towers_head: MatchingHead, prepared: Prepared, settings: FitConfig) -> None:
    outputs, trained = prepared.outputs, prepared.trained
    targets = prepared.supervision.labels
    if head.config.form == "published":
        # Ranking needs a positive label.
        trained = trained[targets[trained].any(dim=1)]
    head.train()
    optimizer = torch.optim.AdamW(
        head.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
    )
    steps = max(1, len(trained) // settings.batch_size)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, half_cosine(50, settings.epochs * steps))
    with progress_bar() as progress:
        task = progress.add_task("fit", total=settings.epochs * steps, note="")
        for epoch in range(settings.epochs):
            order = trained[torch.randperm(len(trained))]
            for batch in order[: steps * settings.batch_size].split(settings.batch_size):
                features = image_batch(outputs[batch])
                if head.config.form == "published":
                    loss, note = _ranking(head, features, targets[batch], prepared, settings)
                else:
                    loss, note = _label_by_label(
                        head, towers_head, features, targets[batch], prepared, settings
                    )
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
                progress.update(task, advance=1, note=f"epoch {epoch + 1} loss {loss.item():.2f}{note}")


def _label_by_label(
    head: MatchingHead,
    towers_head: MatchingHead,
    features: ImageFeatures,
    targets: Tensor,
    prepared: Prepared,
    settings: FitConfig,
) -> tuple[Tensor, str]:
    """The loss of the context form, and a note for the progress bar."""
    labels, names = prepared.labels, prepared.names
    drawn = torch.randint(len(names), (settings.distilled_labels,))
    texts = torch.cat([labels, names[drawn]])
    with torch.no_grad():
        held = towers_head.score(features, towers_head.label_features(names[drawn]))
    with torch.autocast("cpu", torch.bfloat16), sampled_context(head, settings.sampled_context):
        logits = head.score(features, head.label_features(texts)).float()
    forgetting = (logits[:, len(labels) :] - held).square().mean()
    loss = label_loss(logits[:, : len(labels)], targets) + settings.distillation_weight * forgetting
    return loss, f" forgetting {forgetting.item():.3f}"


def _ranking(
    head: MatchingHead, features: ImageFeatures, targets: Tensor, prepared: Prepared, settings: FitConfig
) -> tuple[Tensor, str]:
    """The loss of the published form. SVFR's sum over labels is estimated from a random sample of them."""
    with torch.autocast("cpu", torch.bfloat16):
        labels = head.label_features(prepared.labels)
        if isinstance(head, SigRLHead) and head.svfr is not None:
            rows = torch.randperm(len(prepared.labels))[: settings.sampled_context]
            sample = LabelFeatures(labels.label_embeddings[rows], labels.refined[rows])
            rebuilt = head.reconstruct(features, sample) * (len(prepared.labels) / len(rows))
            features = replace(features, rebuilt_tokens=rebuilt)
        scores = head.score(features, labels).float()
    return ranking_loss(scores, 2 * targets - 1), ""


class sampled_context:  # noqa: N801
    """Within the block, the head's context is a random sample of its labels, which makes SVFR cheaper."""

    def __init__(self, head: MatchingHead, size: int) -> None:
        self.head = head
        self.size = size

    def __enter__(self) -> None:
        if isinstance(self.head, SigRLHead):
            self.context = self.head.context_label_embeddings
            rows = torch.randperm(len(self.context))[: self.size]
            self.head.context_label_embeddings = self.context[rows]

    def __exit__(self, *_: object) -> None:
        if isinstance(self.head, SigRLHead):
            self.head.context_label_embeddings = self.context
