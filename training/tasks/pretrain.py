"""`sigrl-train pretrain`: a dual encoder out of an ImageNet tower and a sentence encoder.

The text tower stays a sentence encoder with a linear map; the image tower learns to land in its space, from
labels, captions, and what the ImageNet classifier says of thousands of names. The latter two keep the breadth
that training on the labels alone would lose.
"""

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from model.backbone import Backbone
from model.config import BackboneConfig, HeadConfig
from model.features import ImageFeatures
from model.heads import MktHead
from model.vocabulary import Label
from training.config import TrainingConfig
from training.data.coco import DataError
from training.data.supervision import Supervision, load_supervision
from training.features import image_features, progress_bar, text_features
from training.initialisation import (
    ImageNetBridge,
    imagenet_class_names,
    load_efficientnet_lite2,
    minilm_tokenizer,
    minilm_weights,
)
from training.losses import caption_loss, cosine_distance, label_loss, soft_targets, standardize
from training.optim import half_cosine
from training.towers import split_trunk

_LIKELY_NAMES = 10
"""Names that a photograph may put into a step's draw."""
_CAPTION_SHARE = 0.7
"""Weight of the caption beside the ImageNet bridge in the distilled scores."""
_RIDGE = 0.02
"""Of the regression that the image projection starts from, as a share of the features' variance."""


@dataclass
class Teachers:
    """All targets that do not change during training; N photographs, V names of the label lists."""

    label_embeddings: Tensor
    """[C, width], unit norm: sentence embeddings of the trained labels' texts."""
    name_embeddings: Tensor
    """[V, width]."""
    caption_embeddings: Tensor
    """[N, width]; rows without a usable caption are never read."""
    bridge_embeddings: Tensor
    """[N, width], centred."""
    targets: Tensor
    """[N, V] float16: soft targets for the names."""
    likely_names: Tensor
    """[N, 10]: the names that fit a photograph's caption best, or its bridge scores where it has none."""


class DualEncoder(nn.Module):
    """The trained parts of both towers: the image tower's last stages, both projections, the scales."""

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
        """Projected features of what the frozen stages gave, [B, F', h, w]."""
        height, width = stem_output.shape[-2:]
        features = self.feature_map(stem_output).float()
        features = (features - self.feature_mean) / self.feature_deviation
        tokens = self.image_projection(features)
        side = math.isqrt(tokens.shape[1] * height // width)
        return ImageFeatures(tokens.mean(dim=1), tokens, (side, tokens.shape[1] // side))

    def fold_standardisation(self) -> None:
        """Moves the features' standardisation into the projection, where the plain backbone has it."""
        with torch.no_grad():
            self.image_projection.weight /= self.feature_deviation
            self.image_projection.bias -= self.image_projection.weight @ self.feature_mean


def pretrain(config: TrainingConfig, cache: Path) -> tuple[Backbone, MktHead]:
    """Trains the towers and returns them with the `mkt` head's scales. Progress goes to the terminal."""
    settings = config.pretrain
    torch.manual_seed(settings.seed)
    torch.set_num_threads(config.threads)
    supervision = load_supervision(config.data)
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
    teachers = _teach(backbone, classifier, supervision, pooled)
    _initialise(encoder, teachers, pooled, deviation, torch.from_numpy(stem_outputs))
    _train(encoder, supervision, teachers, torch.from_numpy(stem_outputs), config)
    encoder.fold_standardisation()
    return backbone, copy.deepcopy(encoder.head)


def starting_point(config: BackboneConfig) -> tuple[Backbone, tuple[Tensor, Tensor]]:
    """Towers with the weights of the registry packages, projections untrained; and ImageNet's classifier."""
    if config.sentence_encoder is None:
        raise DataError("pretrain starts from a sentence encoder: set `pretrain.backbone.sentence_encoder`")
    backbone = Backbone(config, minilm_tokenizer())
    classifier = load_efficientnet_lite2(backbone.visual.trunk)
    # As the bundle will store it: the frozen stages' cached output stays valid for `fit`.
    backbone.visual.trunk.half().float()
    backbone.text.load_state_dict(minilm_weights(config.sentence_encoder), strict=False)
    return backbone.eval(), classifier


@torch.inference_mode()
def _feature_statistics(encoder: DualEncoder, stem_outputs: Tensor) -> tuple[Tensor, Tensor]:
    """Pooled features [N, F] of the tower as it comes, and the deviation [F] of its patch features."""
    pooled, squares = [], []
    with torch.autocast("cpu", torch.bfloat16), progress_bar() as progress:
        task = progress.add_task("features as they come", total=len(stem_outputs), note="")
        for batch in stem_outputs.split(100):
            features = encoder.feature_map(batch.float()).float()
            pooled.append(features.mean(dim=1))
            squares.append(features.square().mean(dim=1).mean(dim=0))
            progress.update(task, advance=len(batch))
    means = torch.cat(pooled).clone()
    variance = torch.stack(squares).mean(0) - means.mean(0).square()
    return means, variance.clamp(min=0).sqrt().clone() + 0.05


def _teach(
    backbone: Backbone, classifier: tuple[Tensor, Tensor], supervision: Supervision, pooled: Tensor
) -> Teachers:
    encode = partial(sentence_embeddings, backbone)
    bridge = make_bridge(backbone, classifier)
    names = text_features(encode, label_texts(backbone, supervision.names), "label lists")
    captions = text_features(encode, [caption or "" for caption in supervision.captions], "captions")
    with_caption = supervision.has_caption.float().unsqueeze(1)
    scores = standardize(bridge.scores(pooled, names))
    caption_scores = standardize(captions @ names.T)
    likely_names = torch.where(with_caption > 0, caption_scores, scores).topk(_LIKELY_NAMES, dim=1).indices
    scores += _CAPTION_SHARE * with_caption * caption_scores
    scores /= (1 + _CAPTION_SHARE**2 * with_caption).sqrt()
    bridge_embeddings = bridge.embed(pooled)
    return Teachers(
        label_embeddings=text_features(encode, label_texts(backbone, supervision.label_names), "labels"),
        name_embeddings=names,
        caption_embeddings=captions,
        bridge_embeddings=bridge_embeddings - bridge_embeddings.mean(0),
        targets=soft_targets(scores).half(),
        likely_names=likely_names,
    )


def sentence_embeddings(backbone: Backbone, texts: Sequence[str]) -> Tensor:
    """[N, width], unit norm: the sentence encoder without the projection."""
    embeddings: Tensor = backbone.text.encode(torch.from_numpy(backbone.tokenize(texts)))
    return embeddings


def make_bridge(backbone: Backbone, classifier: tuple[Tensor, Tensor]) -> ImageNetBridge:
    """The bridge of an ImageNet classifier; a class is the mean of its names' sentence embeddings."""
    classes = imagenet_class_names()
    names = [name for class_names in classes for name in class_names]
    embeddings = text_features(partial(sentence_embeddings, backbone), names, "ImageNet's names")
    means = [part.mean(0) for part in embeddings.split([len(class_names) for class_names in classes])]
    return ImageNetBridge(*classifier, nn.functional.normalize(torch.stack(means), dim=-1))


def label_texts(backbone: Backbone, names: Sequence[str]) -> list[str]:
    """The text of each name under the backbone's first prompt."""
    return [Label(name=name).texts(backbone.config.prompts)[0] for name in names]


@torch.no_grad()
def _initialise(
    encoder: DualEncoder, teachers: Teachers, pooled: Tensor, deviation: Tensor, stem_outputs: Tensor
) -> None:
    """Text projection: principal components of names and captions. Image projection: ridge regression onto
    the bridge embeddings. Scales and biases: such that a first guess is neither sharp nor often positive."""
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


def _draw_names(teachers: Teachers, batch: Tensor, count: int) -> Tensor:
    """Half of the names fit a photograph of the batch, half are any: rare words would hardly ever meet a
    photograph that shows them otherwise."""
    likely = teachers.likely_names[batch].flatten()
    chosen = likely[torch.randint(len(likely), (count // 2,))]
    anything = torch.randint(len(teachers.name_embeddings), (count - len(chosen),))
    return torch.cat([chosen, anything])


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
    drawn = _draw_names(teachers, batch, settings.distilled_labels)
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
