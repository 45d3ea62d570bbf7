"""The targets of pretraining beside the labels: soft targets for thousands of names, from captions and from
the ImageNet classifier. They are computed once, before the first step."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from sigrl.model.backbone import Backbone
from sigrl.model.vocabulary import Label
from sigrl.training.backbones.features import text_features
from sigrl.training.backbones.initialisation import ImageNetBridge, imagenet_class_names
from sigrl.training.losses import soft_targets, standardize
from sigrl.training.tasks.bundled.supervision import Supervision

_LIKELY_NAMES = 10
"""Number of names per photograph that can enter a step's draw."""
_CAPTION_SHARE = 0.7
"""Weight of the caption relative to the ImageNet bridge in the distilled scores."""


@dataclass
class Teachers:
    """All targets that do not change during training, for N photographs and V names of the label lists."""

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
    """[N, 10]: the names that best match a photograph's caption, or its bridge scores if it has none."""


def teach(
    backbone: Backbone, classifier: tuple[Tensor, Tensor], supervision: Supervision, pooled: Tensor
) -> Teachers:
    """Targets for `supervision` from the untrained towers; `pooled` [N, F] are the image tower's features."""
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


def draw_names(teachers: Teachers, batch: Tensor, count: int) -> Tensor:
    """Rows [count] of names for a step. Half match a photograph of the batch and half are random, because
    otherwise rare words would hardly ever meet a photograph on which they are negative."""
    likely = teachers.likely_names[batch].flatten()
    chosen = likely[torch.randint(len(likely), (count // 2,))]
    anything = torch.randint(len(teachers.name_embeddings), (count - len(chosen),))
    return torch.cat([chosen, anything])


def sentence_embeddings(backbone: Backbone, texts: Sequence[str]) -> Tensor:
    """Sentence embeddings [N, width] with unit norm, without the projection."""
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
    """The text of each name with the backbone's first prompt."""
    return [Label(name=name).texts(backbone.config.prompts)[0] for name in names]
