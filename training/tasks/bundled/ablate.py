"""`sigrl-train ablate`: measures the contribution of each part of the method, on the same towers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from pydantic import BaseModel
from torch import Tensor

from sigrl.model.acceleration import choose_precision
from sigrl.model.backbone import Backbone
from sigrl.model.bundle import Bundle
from sigrl.model.config import HeadConfig
from sigrl.model.heads import SigRLHead
from sigrl.model.kernels.cpu_steps import CpuSteps
from sigrl.model.matching import MatchingHead
from sigrl.model.vocabulary import Vocabulary
from sigrl.training.backbones.initialisation import starting_point
from sigrl.training.data.coco import CocoSplit, load_coco
from sigrl.training.measures.metrics import average_precision
from sigrl.training.tasks.bundled.config import FitConfig, TrainingConfig
from sigrl.training.tasks.bundled.evaluate import MINIMUM_POSITIVES
from sigrl.training.tasks.bundled.fit import Prepared, fit_head, predict, prepare
from sigrl.training.tasks.bundled.teachers import label_texts, make_bridge, sentence_embeddings
from sigrl.training.tasks.bundled.towers import feature_maps, tower_outputs

HEADS: dict[str, dict[str, object]] = {
    "clip": {"kind": "clip"},
    # The sigrl head without GMC and without SVFR is exactly the mkt head.
    "mkt": {"kind": "mkt"},
    "biam": {"kind": "biam"},
    "sigrl without GMC": {"kind": "sigrl", "gmc": False},
    "sigrl without SVFR": {"kind": "sigrl", "svfr": False},
    "sigrl": {"kind": "sigrl"},
    # The next two have no parameters, so they are the towers' own scores.
    "published form: clip": {"kind": "clip", "form": "published"},
    "published form: mkt": {"kind": "mkt", "form": "published"},
    "published form: biam": {"kind": "biam", "form": "published", "top_k": 6},
    # In this form the graph acts only through SVFR; without SVFR the head would be mkt.
    "published form: sigrl without GMC": {"kind": "sigrl", "form": "published", "gmc": False},
    "published form: sigrl": {"kind": "sigrl", "form": "published"},
}


class Row(BaseModel):
    """One head: mean and standard deviation over seeds of mAP in percent, on the test split."""

    head: str
    seen: tuple[float, float]
    hidden: tuple[float, float]
    all: tuple[float, float]
    seeds: int
    per_label: list[float]
    """Average precision of every label of the split, averaged over the seeds."""


@dataclass(frozen=True)
class HeldOut:
    """Photographs that nothing was trained on, as outputs of the frozen towers."""

    outputs: Tensor
    """[N, 1 + P, D]: see `tower_outputs`."""
    label_embeddings: Tensor
    """[C, D]."""
    split: CocoSplit
    hidden: np.ndarray
    """[C]: whether the label was withheld from training."""

    def row(self, name: str, scores: Sequence[Tensor]) -> Row:
        """The measurements of a head from its scores [N, C] with every seed."""
        per_label = np.stack([average_precision(one.numpy(), self.split.labels) for one in scores])
        counted = self.split.labels.sum(0) >= MINIMUM_POSITIVES

        def spread(mask: np.ndarray) -> tuple[float, float]:
            if not mask.any():
                return 0.0, 0.0
            means = per_label[:, mask].mean(axis=1)
            return float(means.mean()), float(means.std(ddof=1)) if len(means) > 1 else 0.0

        return Row(
            head=name,
            seen=spread(counted & ~self.hidden),
            hidden=spread(self.hidden),
            all=spread(counted),
            seeds=len(scores),
            per_label=per_label.mean(axis=0).round(2).tolist(),
        )


def ablate(config: TrainingConfig, towers: Bundle, seeds: Sequence[int], cache: Path) -> list[Row]:
    """Fits every head of `HEADS` with every seed on the towers of a bundle."""
    split = load_coco(config.data.root, config.data.test_split)
    test = encode_test_split(config, towers.model.backbone, split, cache)
    rows = [test.row("untrained bridge", [bridge_scores(config, split, cache)])]
    prepared = prepare(config, towers.model.backbone, cache)
    for name, changes in HEADS.items():
        settings = with_head(config.fit, changes)
        rows.append(fitted_row(name, settings, towers.model.head, prepared, test, seeds))
    return rows


def encode_test_split(config: TrainingConfig, backbone: Backbone, split: CocoSplit, cache: Path) -> HeldOut:
    """The towers' outputs for `split`."""
    outputs = tower_outputs(backbone, split.image_paths, config.pretrain, cache)
    with torch.inference_mode():
        labels = backbone.encode_labels(Vocabulary.from_names(split.label_names).labels)
    return HeldOut(outputs, labels, split, np.isin(split.label_names, config.data.hidden_labels))


def with_head(settings: FitConfig, changes: dict[str, object]) -> FitConfig:
    """The settings with another head."""
    head = HeadConfig.model_validate(settings.head.model_dump() | changes)
    return settings.model_copy(update={"head": head})


def fitted_row(
    name: str,
    settings: FitConfig,
    towers_head: MatchingHead,
    prepared: Prepared,
    test: HeldOut,
    seeds: Sequence[int],
    fit: Callable[[FitConfig, MatchingHead, Prepared], MatchingHead] = fit_head,
) -> Row:
    """Fits one head with every seed and measures it."""
    scores = []
    for seed in seeds:
        head = fit(settings.model_copy(update={"seed": seed}), towers_head, prepared)
        if isinstance(head, SigRLHead) and head.svfr is not None:
            # From here on the head only scores, so it uses the service's steps.
            head.svfr.steps = CpuSteps(choose_precision("auto", torch.device("cpu")), compiled=False)
        scores.append(predict(head, test.outputs, test.label_embeddings))
    return test.row(name, scores)


def bridge_scores(config: TrainingConfig, split: CocoSplit, cache: Path) -> Tensor:
    """Scores [N, C] of the untrained towers: the cosine of the bridge embedding and the label's sentence."""
    backbone, classifier = starting_point(config.pretrain.backbone)
    features = feature_maps(backbone, split.image_paths, config.pretrain, cache)
    pooled = torch.cat([batch.mean(dim=1) for batch in features])
    with torch.inference_mode():
        labels = sentence_embeddings(backbone, label_texts(backbone, split.label_names))
        return make_bridge(backbone, classifier).embed(pooled) @ labels.T
