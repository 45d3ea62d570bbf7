"""Scores and measures of the open-vocabulary protocol, computed by all processes."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor

from sigrl.model.backbone import Backbone
from sigrl.model.calibration import probabilities
from sigrl.model.config import Preprocessing
from sigrl.model.matching import MatchingHead
from sigrl.training.backbones.features import map_photographs
from sigrl.training.data.dataset import LabelledPhotographs
from sigrl.training.measures.evaluation import evaluate_scores
from sigrl.training.measures.metrics import average_precision_of_known, f1_at
from sigrl.training.measures.report import Evaluation


class Tagging(Protocol):
    """A model to score: towers and a head. A `TaggingModel` is one."""

    backbone: Backbone
    head: MatchingHead


@torch.inference_mode()
def score_photographs(
    model: Tagging,
    accelerator: Accelerator,
    paths: Sequence[Path],
    preprocessing: Preprocessing,
    label_sets: Sequence[Tensor],
    workers: int = 4,
) -> list[np.ndarray]:
    """Scores [N, C] of N photographs under each of several label sets [C, D], the same in every process.

    In the published form a label's score depends on its label set, so each set is scored separately, on one
    pass of the image tower.
    """
    with accelerator.autocast():
        labels = [model.head.label_features(embeddings.to(accelerator.device)) for embeddings in label_sets]

    def score(pixel_values: Tensor) -> list[Tensor]:
        features = model.backbone.encode_images(pixel_values)
        return [model.head.score(features, label_features) for label_features in labels]

    scores = map_photographs(score, accelerator, paths, preprocessing, "evaluate", workers)
    return [one.numpy() for one in scores]


def measures(name: str, scores: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """BiAM's measures in percent: mean average precision, and F1, precision and recall at 3 and 5. `scores`
    and `labels` are [N, C], labels in {-1, 0, 1}."""
    measured = {f"{name}/mAP": float(average_precision_of_known(scores, labels).mean())}
    for k in (3, 5):
        at = f1_at(scores, labels, k)
        measured |= {f"{name}/F1@{k}": at.f1, f"{name}/P@{k}": at.precision, f"{name}/R@{k}": at.recall}
    return measured


def zero_shot_tests(test: LabelledPhotographs, seen: int) -> dict[str, LabelledPhotographs]:
    """The test photographs with only the unseen labels (ZSL) and with all labels (GZSL), of which the first
    `seen` were trained."""
    return {"zsl": test.select_labels(test.label_names[seen:]), "gzsl": test}


def evaluate_tests(
    tests: Mapping[str, LabelledPhotographs],
    scores: Mapping[str, np.ndarray],
    form: Literal["published", "context"],
    threshold: float,
) -> dict[str, Evaluation]:
    """The general measures of the same `scores` [N, C], as in `sigrl-train evaluate`: labels without a
    positive are left out of means, and unknown pairs out of everything."""
    return {
        name: evaluate_scores(scores[name], probabilities(scores[name], form), threshold, photographs)
        for name, photographs in tests.items()
    }
