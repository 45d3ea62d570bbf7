"""The data of the ladder of single-positive losses: features, labels, and a CLIP's pseudo-labels.

The features are those of the untrained ImageNet tower, because the bundled towers were trained on all labels
of these photographs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sigrl.model.backbone import Backbone
from sigrl.training.backbones.initialisation import starting_point
from sigrl.training.data.coco import read_coco
from sigrl.training.data.dataset import LabelledPhotographs
from sigrl.training.data.single_positive import split_published_draw
from sigrl.training.losses.pseudo_labels import VlplOptions, label_similarity, vlpl_pseudo_labels
from sigrl.training.tasks.bundled.config import TrainingConfig
from sigrl.training.tasks.bundled.teachers import label_texts, make_bridge, sentence_embeddings
from sigrl.training.tasks.bundled.towers import feature_maps


@dataclass(frozen=True)
class LadderData:
    """The data that all rungs share. Features are the tower's last activations, 0 or above. With centred
    features, only the bias could learn how rare a label is, and its small steps take longer than 25
    epochs."""

    train: Tensor
    """[N, F]."""
    validation: Tensor
    test: Tensor
    observed: Tensor
    """[N, C], one positive per row."""
    complete: Tensor
    """[N, C]: the true labels of the training photographs, for the references."""
    pseudo: Tensor
    """[N, C]: VLPL's pseudo-labels, with the untrained bridge between ImageNet's classes and the labels as
    the CLIP."""
    validation_labels: np.ndarray
    test_labels: np.ndarray
    """[n, C] bool."""


def prepare_ladder(config: TrainingConfig, cache: Path) -> LadderData:
    """Computes the features of all photographs once. Raises DataError."""
    torch.set_num_threads(config.threads)
    root, split = config.data.root, config.data.train_split
    annotations = root / "annotations"
    train, test = read_coco(root, split), read_coco(root, config.data.test_split)
    splits = split_published_draw(
        train, annotations / f"single_positive_{split}.json", annotations / f"instances_{split}.json"
    )
    backbone, classifier = starting_point(config.pretrain.backbone)

    def pooled(photographs: LabelledPhotographs) -> Tensor:
        maps = feature_maps(backbone, photographs.image_paths, config.pretrain, cache)
        return torch.cat([batch.mean(dim=1) for batch in maps])

    row = {image_id: number for number, image_id in enumerate(train.ids or ())}
    every = pooled(train)
    trained, validated = (
        every[[row[image_id] for image_id in part.ids or ()]] for part in (splits.train, splits.validation)
    )
    return LadderData(
        train=trained,
        validation=validated,
        test=pooled(test),
        observed=torch.from_numpy(splits.train.labels),
        complete=torch.from_numpy(splits.complete_train.labels),
        pseudo=_bridge_labels(backbone, classifier, trained, train.label_names),
        validation_labels=splits.validation.labels == 1,
        test_labels=test.labels == 1,
    )


def _bridge_labels(
    backbone: Backbone, classifier: tuple[Tensor, Tensor], pooled: Tensor, names: Sequence[str]
) -> Tensor:
    with torch.inference_mode():
        labels = sentence_embeddings(backbone, label_texts(backbone, names))
        images = make_bridge(backbone, classifier).embed(pooled)
        # Without centring, all photographs are close to one label, because many ImageNet classes are birds.
        images = images - images.mean(0)
        options = VlplOptions()
        similarity = label_similarity(images, labels, options.temperature)
        return vlpl_pseudo_labels(similarity, options).to(torch.int8).clone()
