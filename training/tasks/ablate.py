"""`sigrl-train ablate`: what each part of the method brings, on the same towers."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from pydantic import BaseModel
from torch import Tensor

from model.bundle import Bundle
from model.config import HeadConfig
from model.vocabulary import Vocabulary
from training.config import TrainingConfig
from training.data.coco import CocoSplit, load_coco
from training.initialisation import starting_point
from training.metrics import average_precision
from training.tasks.evaluate import MINIMUM_POSITIVES
from training.tasks.fit import fit_head, predict, prepare
from training.teachers import label_texts, make_bridge, sentence_embeddings
from training.towers import feature_maps, tower_outputs

HEADS: dict[str, dict[str, object]] = {
    "clip": {"kind": "clip"},
    # The sigrl head without GMC and without SVFR is the mkt head, to the last bit.
    "mkt": {"kind": "mkt"},
    "sigrl without GMC": {"kind": "sigrl", "gmc": False},
    "sigrl without SVFR": {"kind": "sigrl", "svfr": False},
    "sigrl": {"kind": "sigrl"},
}


class Row(BaseModel):
    """One head: mean and standard deviation over seeds of mAP in percent, on the test split."""

    head: str
    seen: tuple[float, float]
    hidden: tuple[float, float]
    all: tuple[float, float]
    seeds: int


def ablate(config: TrainingConfig, towers: Bundle, seeds: Sequence[int], cache: Path) -> list[Row]:
    """Fits every head of `HEADS` with every seed on the towers of a bundle."""
    split = load_coco(config.data.root, config.data.test_split)
    backbone = towers.model.backbone
    outputs = tower_outputs(backbone, split.image_paths, config.pretrain, cache)
    with torch.inference_mode():
        labels = backbone.encode_labels(Vocabulary.from_names(split.label_names).labels)
    counted = split.labels.sum(0) >= MINIMUM_POSITIVES
    hidden = np.isin(split.label_names, config.data.hidden_labels)

    def measure(scores: Tensor) -> list[float]:
        precisions = average_precision(scores.numpy(), split.labels)
        masks = (counted & ~hidden, hidden, counted)
        return [float(precisions[mask].mean()) if mask.any() else 0.0 for mask in masks]

    bridge = bridge_scores(config, split, cache)
    rows = [_row("untrained bridge", [measure(bridge)])]
    prepared = prepare(config, backbone, cache)
    for name, changes in HEADS.items():
        measured = []
        for seed in seeds:
            head_config = HeadConfig.model_validate(config.fit.head.model_dump() | changes)
            settings = config.fit.model_copy(update={"head": head_config, "seed": seed})
            head = fit_head(settings, towers.model.head, prepared)
            measured.append(measure(predict(head, outputs, labels)))
        rows.append(_row(name, measured))
    return rows


def bridge_scores(config: TrainingConfig, split: CocoSplit, cache: Path) -> Tensor:
    """Scores [N, C] of the towers as they come: cosine of the bridge embedding and the label's sentence."""
    backbone, classifier = starting_point(config.pretrain.backbone)
    features = feature_maps(backbone, split.image_paths, config.pretrain, cache)
    pooled = torch.cat([batch.mean(dim=1) for batch in features])
    with torch.inference_mode():
        labels = sentence_embeddings(backbone, label_texts(backbone, split.label_names))
        return make_bridge(backbone, classifier).embed(pooled) @ labels.T


def _row(head: str, measured: list[list[float]]) -> Row:
    means = np.mean(measured, axis=0)
    deviations = np.std(measured, axis=0, ddof=1) if len(measured) > 1 else np.zeros(3)
    seen, hidden, both = zip(means.tolist(), deviations.tolist(), strict=True)
    return Row(head=head, seen=seen, hidden=hidden, all=both, seeds=len(measured))
