"""`sigrl-train pretrain`: a dual encoder made from an ImageNet tower and a sentence encoder.

The text tower stays a sentence encoder with a linear map. The image tower learns to map into its space, from
labels, captions, and the ImageNet classifier's scores for thousands of names. Captions and names preserve the
breadth that training on the labels alone would lose.

The resumable loop is not used: it would draw other random numbers, so the published towers could not be made
again.
"""

import copy
import math
from pathlib import Path

import torch
from torch import Tensor, nn

from sigrl.model.backbone import Backbone
from sigrl.model.config import HeadConfig
from sigrl.model.features import ImageFeatures
from sigrl.model.heads import MktHead
from sigrl.training.backbones.feature_cache import image_features
from sigrl.training.backbones.initialisation import starting_point
from sigrl.training.backbones.towers import split_trunk
from sigrl.training.data.dataset import DataError
from sigrl.training.loop.schedules import half_cosine
from sigrl.training.losses import caption_loss, cosine_distance, label_loss
from sigrl.training.tasks.bundled.config import TrainingConfig
from sigrl.training.tasks.bundled.supervision import Supervision, load_supervision
from sigrl.training.tasks.bundled.teachers import Teachers, draw_names, teach
from sigrl.training.terminal import progress_bar

_RIDGE = 0.02
"""Ridge penalty of the regression that initialises the image projection, relative to the features'
variance."""


class DualEncoder(nn.Module):
    """The trained parts of both towers: the image tower's last stages, both projections, and the scales."""

    def __init__(self, backbone: Backbone, frozen_blocks: int) -> None:
        super().__init__()
        self.stem, self.stages = split_trunk(backbone.visual.trunk, frozen_blocks)
        self.image_projection: nn.Linear = backbone.visual.head.proj
        self.text_projection: nn.Linear = backbone.text.projection
        self.head = MktHead(HeadConfig(kind="mkt", form="context"))
        self.distillation_bias = nn.Parameter(torch.tensor(-5.0))
        self.log_caption_scale = nn.Parameter(torch.tensor(2.0))
        features = self.image_projection.in_features
        self.register_buffer("feature_mean", torch.zeros(features))
        self.register_buffer("feature_deviation", torch.ones(features))
        self.eval()  # batch norm keeps ImageNet's statistics; there is no dropout
        self.stem.requires_grad_(False)

    def feature_map(self, stem_output: Tensor) -> Tensor:
        """Features [B, P, F] of the tower after its trained stages."""
        return self.stages(stem_output).flatten(2).mT

    def forward(self, stem_output: Tensor) -> ImageFeatures:
        """Projected features of the frozen stages' output [B, F', h, w]."""
        height, width = stem_output.shape[-2:]
        features = self.feature_map(stem_output).float()
        features = (features - self.feature_mean) / self.feature_deviation
        tokens = self.image_projection(features)
        side = math.isqrt(tokens.shape[1] * height // width)
        return ImageFeatures(tokens.mean(dim=1), tokens, (side, tokens.shape[1] // side))

    def fold_standardisation(self) -> None:
        """Moves the features' standardisation into the projection, where the plain backbone expects it."""
        with torch.no_grad():
            self.image_projection.weight /= self.feature_deviation
            self.image_projection.bias -= self.image_projection.weight @ self.feature_mean


def pretrain(config: TrainingConfig, cache: Path) -> tuple[Backbone, MktHead]:
    """Trains the towers and returns them with the `mkt` head's scales. Shows a progress bar on the
    terminal."""
    settings = config.pretrain
    torch.manual_seed(settings.seed)
    torch.set_num_threads(config.threads)
    supervision = load_supervision(config.data)
    if not supervision.has_caption.any():
        raise DataError(
            f"pretrain needs captions: add annotations/captions_{config.data.train_split}.json to "
            f"{config.data.root}"
        )
    backbone, classifier = starting_point(settings.backbone)
    encoder = DualEncoder(backbone, settings.frozen_blocks).to(memory_format=torch.channels_last)
    stem_outputs = image_features(
        supervision.image_paths,
        settings.preprocessing,
        encoder.stem,
        encoder.stem,
        cache,
        "frozen stages of the image tower",
    )
    pooled, deviation = _feature_statistics(encoder, torch.from_numpy(stem_outputs))
    teachers = teach(backbone, classifier, supervision, pooled)
    _initialise(encoder, teachers, pooled, deviation, torch.from_numpy(stem_outputs))
    _train(encoder, supervision, teachers, torch.from_numpy(stem_outputs), config)
    encoder.fold_standardisation()
    return backbone, copy.deepcopy(encoder.head)


@torch.inference_mode()
def _feature_statistics(encoder: DualEncoder, stem_outputs: Tensor) -> tuple[Tensor, Tensor]:
    """Pooled features [N, F] of the untrained tower, and the deviation [F] of its patch features."""
    pooled, squares = [], []
    with torch.autocast("cpu", torch.bfloat16), progress_bar() as progress:
        task = progress.add_task("features before training", total=len(stem_outputs), note="")
        for batch in stem_outputs.split(100):
            features = encoder.feature_map(batch.float()).float()
            pooled.append(features.mean(dim=1))
            squares.append(features.square().mean(dim=1).mean(dim=0))
            progress.update(task, advance=len(batch))
    means = torch.cat(pooled).clone()
    variance = torch.stack(squares).mean(0) - means.mean(0).square()
    return means, variance.clamp(min=0).sqrt().clone() + 0.05


@torch.no_grad()
def _initialise(
    encoder: DualEncoder, teachers: Teachers, pooled: Tensor, deviation: Tensor, stem_outputs: Tensor
) -> None:
    """Initialises the text projection with principal components of names and captions, the image projection
    with a ridge regression onto the bridge embeddings, and scales and biases so that the first predictions
    are neither sharp nor often positive."""
    texts = torch.cat([teachers.name_embeddings, teachers.caption_embeddings[::2]])
    _, _, components = torch.pca_lowrank(texts, encoder.text_projection.out_features, center=False, niter=4)
    encoder.text_projection.weight.copy_(components.T)
    encoder.text_projection.bias.copy_(-teachers.name_embeddings.mean(0) @ components)
    encoder.feature_mean.copy_(pooled.mean(0))
    encoder.feature_deviation.copy_(deviation)
    inputs = (pooled - pooled.mean(0)) / deviation
    penalty = _RIDGE * len(inputs) * inputs.var(0).mean() * torch.eye(inputs.shape[1])
    targets = teachers.bridge_embeddings @ components
    weight = torch.linalg.solve(inputs.T @ inputs + penalty, inputs.T @ targets)
    encoder.image_projection.weight.copy_(weight.T)
    encoder.image_projection.bias.zero_()

    head = encoder.head
    labels = head.label_features(encoder.text_projection(teachers.label_embeddings))
    features = encoder(stem_outputs[:100].float())
    local = head.local_scores(features, labels)
    local = local.topk(min(head.config.top_k, local.shape[1]), dim=1).values.mean(1)
    scores = head.global_scores(features, labels)
    head.log_global_scale.copy_(-scores.std().log() - 0.3)
    head.log_local_scale.copy_(-local.std().log() - 0.3)
    head.bias.zero_()
    logits = head.score(features, labels)
    head.bias.copy_(-logits.mean() - 1.2 * logits.std() - 2.5)
    encoder.distillation_bias.zero_()


def _train(
    encoder: DualEncoder,
    supervision: Supervision,
    teachers: Teachers,
    stem_outputs: Tensor,
    config: TrainingConfig,
) -> None:
    settings = config.pretrain
    head = encoder.head
    scales = [*head.parameters(), encoder.distillation_bias, encoder.log_caption_scale]
    optimizer = torch.optim.AdamW(
        [
            {"params": encoder.stages.parameters(), "lr": settings.tower_learning_rate},
            {"params": [*encoder.image_projection.parameters(), *scales], "lr": settings.learning_rate},
            {"params": encoder.text_projection.parameters(), "lr": settings.text_learning_rate},
        ],
        weight_decay=settings.weight_decay,
    )
    steps = max(1, len(stem_outputs) // settings.batch_size)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, half_cosine(50, settings.epochs * steps))
    with progress_bar() as progress:
        task = progress.add_task("pretrain", total=settings.epochs * steps, note="")
        for epoch in range(settings.epochs):
            order = torch.randperm(len(stem_outputs))
            for batch in order[: steps * settings.batch_size].split(settings.batch_size):
                loss = _loss(encoder, supervision, teachers, stem_outputs, batch, config)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
                progress.update(task, advance=1, note=f"epoch {epoch + 1} loss {loss.item():.2f}")


def _loss(
    encoder: DualEncoder,
    supervision: Supervision,
    teachers: Teachers,
    stem_outputs: Tensor,
    batch: Tensor,
    config: TrainingConfig,
) -> Tensor:
    settings = config.pretrain
    head = encoder.head
    drawn = draw_names(teachers, batch, settings.distilled_labels)
    with torch.autocast("cpu", torch.bfloat16):
        features = encoder(stem_outputs[batch].float().contiguous(memory_format=torch.channels_last))
    features = ImageFeatures(features.image_embeddings.float(), features.patch_tokens.float(), features.grid)
    texts = torch.cat([teachers.label_embeddings, teachers.name_embeddings[drawn]])
    labels = head.label_features(encoder.text_projection(texts))
    logits = head.score(features, labels)
    known = len(teachers.label_embeddings)
    image_embeddings = nn.functional.normalize(features.image_embeddings, dim=-1)
    captioned = supervision.has_caption[batch]
    captions = encoder.text_projection(teachers.caption_embeddings[batch[captioned]])
    bridge = teachers.bridge_embeddings[batch] @ encoder.text_projection.weight.detach().T
    distilled = label_loss(
        logits[:, known:] + encoder.distillation_bias, teachers.targets[batch][:, drawn].float()
    )
    return (
        settings.label_weight * label_loss(logits[:, :known], supervision.labels[batch])
        + settings.distillation_weight * distilled * 80 / settings.distilled_labels
        + settings.caption_weight
        * caption_loss(
            image_embeddings[captioned],
            nn.functional.normalize(captions, dim=-1),
            encoder.log_caption_scale.exp(),
        )
        + settings.bridge_weight * cosine_distance(image_embeddings, bridge)
    )
