"""Measures on your own photographs, whose labels may be partly unknown."""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sigrl.model.calibration import probabilities
from sigrl.training.data.dataset import LabelledPhotographs
from sigrl.training.losses.options import AnLs, Iu
from sigrl.training.measures.metrics import average_precision_of_known, f1_threshold
from sigrl.training.tasks.photographs.config import PhotographLoss, PhotographsConfig


def assume_negatives(photographs: LabelledPhotographs) -> LabelledPhotographs:
    """The photographs for evaluation. A label without any known negative counts as absent where it is
    unknown, because with positives alone every order would be perfect."""
    labels = photographs.labels.copy()
    assumed = ~(labels == -1).any(axis=0)
    labels[(labels == 0) & assumed] = -1
    return LabelledPhotographs(
        photographs.image_paths, photographs.label_names, labels, photographs.ids, photographs.captions
    )


def mean_average_precision(scores: npt.NDArray[np.floating], labels: npt.NDArray[np.int8]) -> float:
    """Mean average precision in percent, over the labels that apply to at least one photograph; both are [N,
    C]."""
    positive = (labels == 1).any(axis=0)
    return float(average_precision_of_known(scores, labels)[positive].mean())


def choose_threshold(scores: npt.NDArray[np.floating], labels: npt.NDArray[np.int8]) -> float:
    """The probability that decides best, one for all labels; unknown labels do not count."""
    decisive = np.where(labels == 0, 0, probabilities(scores.astype(np.float32), "context"))
    return f1_threshold(decisive, labels == 1)[0]


def choose_loss(config: PhotographsConfig, labels: npt.NDArray[np.int8]) -> PhotographLoss:
    """The configured loss, or the default; see `PhotographsConfig.loss`."""
    if config.loss is not None:
        return config.loss
    return Iu() if (labels == -1).any(axis=0).all() else AnLs()


def positive_weights(config: PhotographsConfig, labels: npt.NDArray[np.int8]) -> Tensor:
    """Weight [C] of each label's positives; see `PhotographsConfig.balance`."""
    positives = (labels == 1).sum(axis=0)
    weights = np.ones(len(positives))
    if config.balance == "inverse_frequency":
        weights = np.clip((len(labels) - positives) / np.maximum(positives, 1), 1, config.largest_weight)
    return torch.from_numpy(weights).float()
