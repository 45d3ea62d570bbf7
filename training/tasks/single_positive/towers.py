"""Classifiers of single-positive runs: a CLIP's towers with a head, or a timm classifier."""

import sigrl.model.torchvision_cure  # noqa: F401 (before timm, which imports torchvision)

# isort: split
import math
from collections.abc import Iterator, Sequence
from copy import deepcopy
from typing import Protocol

import timm
import torch
from open_clip.model import resize_pos_embed
from timm.data import resolve_data_config
from torch import Tensor, nn

from sigrl.model.backbone import Backbone
from sigrl.model.bundle import Bundle
from sigrl.model.config import BackboneConfig, Preprocessing
from sigrl.model.heads import SigRLHead, create_head
from sigrl.model.matching import MatchingHead
from sigrl.model.vocabulary import Vocabulary
from sigrl.training.backbones.weight_files import WeightsError, read_tensors
from sigrl.training.data.dataset import DataError
from sigrl.training.tasks.single_positive.config import ClipTower, LinearHead, TimmTower


class Classifier(Protocol):
    """The protocol of a classifier, which is also a module: pixel values [B, 3, S, S] -> logits [B, C]."""

    preprocessing: Preprocessing

    def __call__(self, pixel_values: Tensor) -> Tensor: ...

    def new_parameters(self) -> Iterator[nn.Parameter]:
        """The parameters that start at random; the others start from ImageNet or CLIP weights."""
        ...


class LearnedScale(nn.Module):
    """A learned scale and bias that turn scores into logits."""

    def __init__(self) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.zeros(()))
        self.bias = nn.Parameter(torch.zeros(()))

    def forward(self, scores: Tensor) -> Tensor:
        """Scores [B, C] -> logits [B, C]."""
        return self.log_scale.exp() * scores + self.bias

    @torch.no_grad()
    def start_at(self, scores: Tensor) -> None:
        """Gives the logits of `scores` [n, C] a deviation of 1 around the probability of one label in C, so
        that training starts where the sigmoid has a slope, whatever the tower."""
        deviation = scores.std().clamp(min=1e-6)
        self.log_scale.copy_(-deviation.log())
        self.bias.copy_(-math.log(max(scores.shape[1] - 1, 1)) - scores.mean() / deviation)


class MatchingClassifier(nn.Module):
    """Image tower and a head that matches label embeddings, with a learned scale in the published form."""

    label_embeddings: Tensor

    def __init__(
        self,
        backbone: Backbone,
        preprocessing: Preprocessing,
        head: MatchingHead,
        label_embeddings: Tensor,
        scale: LearnedScale | None,
    ) -> None:
        """`label_embeddings` [C, D] are raw embeddings from the text tower, which is frozen."""
        super().__init__()
        self.backbone, self.head, self.scale = backbone, head, scale
        self.preprocessing = preprocessing
        self.register_buffer("label_embeddings", label_embeddings, persistent=False)

    def scores(self, pixel_values: Tensor) -> Tensor:
        """The head's scores [B, C], before the learned scale."""
        features = self.backbone.encode_images(pixel_values)
        return self.head.score(features, self.head.label_features(self.label_embeddings))

    def forward(self, pixel_values: Tensor) -> Tensor:
        scores = self.scores(pixel_values)
        return scores if self.scale is None else self.scale(scores)

    def new_parameters(self) -> Iterator[nn.Parameter]:
        yield from self.head.parameters()
        if self.scale is not None:
            yield from self.scale.parameters()


class LinearClassifier(nn.Module):
    """Image tower and a linear map of the image embedding."""

    def __init__(self, backbone: Backbone, preprocessing: Preprocessing, labels: int) -> None:
        super().__init__()
        self.backbone, self.preprocessing = backbone, preprocessing
        self.classifier = nn.Linear(backbone.config.embed_dim, labels)

    def forward(self, pixel_values: Tensor) -> Tensor:
        return self.classifier(self.backbone.encode_images(pixel_values).image_embeddings)

    def new_parameters(self) -> Iterator[nn.Parameter]:
        return self.classifier.parameters()


class TimmClassifier(nn.Module):
    """A timm model with a new classifier for C labels."""

    def __init__(self, trunk: nn.Module, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.trunk, self.preprocessing = trunk, preprocessing

    def forward(self, pixel_values: Tensor) -> Tensor:
        return self.trunk(pixel_values)

    def new_parameters(self) -> Iterator[nn.Parameter]:
        return self.trunk.get_classifier().parameters()


def create_clip_classifier(
    tower: ClipTower, start: Bundle, label_names: Sequence[str]
) -> MatchingClassifier | LinearClassifier:
    """The towers of `start` with a new head for `label_names`. Raises DataError for an unsupported image
    size."""
    config = start.manifest.backbone
    # Whole photographs, as published: a crop at the centre would lose labelled objects at the edge.
    preprocessing = start.manifest.preprocessing.model_copy(update={"resize": "squash"})
    backbone = deepcopy(start.model.backbone)
    if tower.image_size not in (None, preprocessing.image_size):
        preprocessing = preprocessing.model_copy(update={"image_size": tower.image_size})
        config = config.model_copy(update={"vision": config.vision | {"image_size": tower.image_size}})
        backbone = _resized(backbone, config, start.tokenizer)
    with torch.no_grad():
        label_embeddings = backbone.encode_labels(Vocabulary.from_names(label_names).labels)
    backbone.requires_grad_(False).visual.requires_grad_(True)
    if isinstance(tower.head, LinearHead):
        return LinearClassifier(backbone, preprocessing, len(label_names))
    in_context = tower.head.kind == "sigrl" and tower.head.form == "context"
    context_labels = tuple(label_names) if in_context else ()
    head_config = tower.head.model_copy(update={"context_labels": context_labels})
    head = create_head(head_config, config.embed_dim, tower.dropout)
    if in_context and isinstance(head, SigRLHead):
        head.set_context(label_embeddings)
    scale = LearnedScale() if tower.learned_scale and head_config.form == "published" else None
    return MatchingClassifier(backbone, preprocessing, head, label_embeddings, scale)


def create_timm_classifier(tower: TimmTower, labels: int) -> TimmClassifier:
    """A timm model with ImageNet weights and a new classifier. Raises WeightsError if there are no weights,
    or if they belong to another model."""
    try:
        trunk = timm.create_model(tower.name, pretrained=tower.weights is None, num_classes=labels)
    except Exception as error:  # timm, the hub and the network raise different errors with no narrower base
        reason = str(error).strip().partition("\n")[0].rstrip(".")
        raise WeightsError(
            f"timm cannot create {tower.name} ({reason}): correct `tower.name`, or download its weights on "
            "another machine and set `tower.weights` to the file"
        ) from error
    if tower.weights is not None:
        _load(trunk, tower)
    shown = resolve_data_config({}, model=trunk)
    preprocessing = Preprocessing(
        image_size=tower.image_size,
        resize="squash",
        interpolation="bilinear" if shown["interpolation"] == "bilinear" else "bicubic",
        mean=shown["mean"],
        std=shown["std"],
    )
    return TimmClassifier(trunk, preprocessing)


def _load(trunk: nn.Module, tower: TimmTower) -> None:
    assert tower.weights is not None
    own = {name: tensor.shape for name, tensor in trunk.state_dict().items()}
    new = {id(parameter) for parameter in trunk.get_classifier().parameters()}
    expected = own.keys() - {name for name, one in trunk.named_parameters() if id(one) in new}
    given = read_tensors(tower.weights)
    fitting = {name: given[name] for name in expected if name in given and given[name].shape == own[name]}
    # Older files lack the batch norms' counters, which nothing reads.
    absent = [name for name in expected - fitting.keys() if not name.endswith("num_batches_tracked")]
    if absent:
        raise WeightsError(
            f"{tower.weights} lacks {len(absent)} tensors of {tower.name}, or has them in another shape "
            f"(`{min(absent)}`): name the model that the file was made for"
        )
    trunk.load_state_dict(fitting, strict=False)


def _resized(backbone: Backbone, config: BackboneConfig, tokenizer: bytes | None) -> Backbone:
    try:
        resized = Backbone(config, tokenizer).eval()
        tensors = backbone.state_dict()
        resize_pos_embed(tensors, resized)
        resized.load_state_dict(tensors)
    except (RuntimeError, ValueError, AssertionError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise DataError(
            f"the image tower cannot be resized to {config.vision['image_size']} pixels ({reason}): remove "
            "`tower.image_size`"
        ) from error
    return resized
