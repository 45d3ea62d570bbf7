"""Baselines: a linear probe, ImageNet's own classifier, and a constant guess."""

import sigrl.model.torchvision_cure  # noqa: F401 (before timm, which imports torchvision)

# isort: split
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
import timm
import torch
from timm.data import ImageNetInfo
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.everyday.labelled import Photographs
from benchmarks.everyday.measures import Decisions, Floats, Labels, constant_guess
from sigrl.model.config import Preprocessing
from sigrl.service.vocabularies import builtin as vocabularies
from sigrl.training.backbones.feature_cache import image_features
from sigrl.training.backbones.initialisation import imagenet_class_names, load_efficientnet_lite

# Independent of the measured checkpoint, so that these rows are comparable between runs.
PREPROCESSING = Preprocessing(image_size=320, resize="squash", mean=(0.5,) * 3, std=(0.5,) * 3)
_THRESHOLD = 0.5
_RIDGE = 1e-2
_STEPS = 200


class FrozenTrunk:
    """EfficientNet-Lite2 with its ImageNet weights and classifier."""

    def __init__(self, cache: Path) -> None:
        """`cache`: a folder for features. Raises DataError if the package with the weights is missing."""
        self.cache = cache
        self.module: nn.Module = timm.create_model("tf_efficientnet_lite2", num_classes=0).eval()
        self.weight, self.bias = load_efficientnet_lite(self.module, "tf_efficientnet_lite2")

    def features(self, paths: Sequence[Path], description: str) -> Tensor:
        """Pooled features of photographs, float32 [N, 1280], computed once. Raises DataError."""
        # Its progress bar goes to stderr, because it is not a result.
        with redirect_stdout(sys.stderr):
            found = image_features(paths, PREPROCESSING, self.module, self.module, self.cache, description)
        return torch.from_numpy(np.asarray(found)).float()

    def class_probabilities(self, features: Tensor) -> Floats:
        """[N, 1280] -> [N, 1000]."""
        return functional.linear(features, self.weight, self.bias).softmax(dim=1).numpy()


def baselines(photographs: Photographs, judged: Photographs, cache: Path) -> dict[str, Decisions]:
    """Each baseline's tags for the `judged` photographs, by its row in the table. The probe and the guess are
    fitted to the training split."""
    train = photographs.take(np.flatnonzero(photographs.splits == "train"))
    trunk = FrozenTrunk(cache)
    features = trunk.features(judged.paths, "frozen features")
    probed = linear_probe(trunk.features(train.paths, "frozen features, train"), train.labels, features)
    by_class = names_by_class(trunk.class_probabilities(features), judged.names)
    guess = np.tile(constant_guess(train.labels), (len(judged), 1))
    return {
        f"linear probe of the frozen trunk, {len(train):,} photographs": _decided(probed),
        "ImageNet's classifier, by its classes' names": _decided(by_class),
        f"constant guess: the {guess[0].sum()} most frequent names": Decisions.of(guess),
    }


def linear_probe(features: Tensor, labels: Labels, judged: Tensor) -> Floats:
    """Probabilities [M, C] for `judged` features [M, F] of a logistic regression with a ridge, fitted to
    `features` [N, F] and their `labels`; unsure pairs are left out."""
    mean, deviation = features.mean(dim=0), features.std(dim=0, correction=0) + 1e-6
    inputs, known = (features - mean) / deviation, torch.from_numpy(labels != 0).float()
    targets = torch.from_numpy(labels > 0).float()
    weight = torch.zeros(labels.shape[1], features.shape[1], requires_grad=True)
    bias = torch.full((labels.shape[1],), -4.0, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=_STEPS, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        logits = functional.linear(inputs, weight, bias)
        each = functional.binary_cross_entropy_with_logits(logits, targets, known, reduction="sum")
        total = each / len(inputs) + _RIDGE * weight.square().sum()
        total.backward()
        return total

    optimizer.step(loss)
    with torch.inference_mode():
        return functional.linear((judged - mean) / deviation, weight, bias).sigmoid().numpy()


def names_by_class(class_probabilities: Floats, names: Sequence[str]) -> Floats:
    """For each name, the largest probability among the classes that it names, [N, C]; 0 if it names none."""
    synonyms = {label.name: label.synonyms for label in vocabularies.builtin("everyday").labels}
    class_names = imagenet_class_names()
    found = np.zeros((len(class_probabilities), len(names)), np.float32)
    for column, name in enumerate(names):
        if classes := classes_of((name, *synonyms.get(name, ())), class_names):
            found[:, column] = class_probabilities[:, classes].max(axis=1)
    return found


def imagenet_synsets() -> list[str]:
    """The synset ids of the 1,000 classes in the classifier's order, such as "n01440764"."""
    return list(ImageNetInfo("imagenet-1k").label_names())


def classes_of(words: Sequence[str], class_names: Sequence[Sequence[str]]) -> list[int]:
    """The classes with a name that equals or ends with one of the `words`: "coffee mug" is a "mug"."""
    endings = tuple(f" {word.casefold()}" for word in words)
    return [
        number
        for number, each in enumerate(class_names)
        if any(f" {name.casefold()}".endswith(endings) for name in each)
    ]


def _decided(probabilities: Floats) -> Decisions:
    return Decisions.of(probabilities >= _THRESHOLD, probabilities)
