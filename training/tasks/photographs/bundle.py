"""One run on your own photographs: its model, its inputs, and the scores of the starting checkpoint."""

import hashlib
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor

from sigrl.model.bundle import Bundle
from sigrl.model.vocabulary import Label
from sigrl.training.backbones.features import map_photographs
from sigrl.training.data.common_names import common_names
from sigrl.training.loop.schedules import WarmUpCosine
from sigrl.training.loop.task import LoopConfig
from sigrl.training.tasks.photographs.config import PhotographsConfig
from sigrl.training.tasks.photographs.data import OwnData
from sigrl.training.tasks.photographs.inputs import (
    FeatureViews,
    Form,
    PixelViews,
    TowerFeatures,
    tower_features,
)
from sigrl.training.tasks.photographs.measures import (
    assume_negatives,
    choose_loss,
    mean_average_precision,
    positive_weights,
)
from sigrl.training.tasks.photographs.model import PhotographTagger, encode_labels, score_features
from sigrl.training.tasks.photographs.task import PhotographsTask

NAMES = 1024
"""Number of names on which the checkpoint should keep its scores."""


class PhotographsRun:
    """A run, ready to create its task."""

    def __init__(
        self,
        config: PhotographsConfig,
        data: OwnData,
        start: Bundle,
        accelerator: Accelerator,
        directory: Path,
    ) -> None:
        """Encodes the texts and, if the tower is frozen, passes all photographs through it."""
        self._config, self._data, self._start = config, data, start
        self._accelerator, self._directory = accelerator, directory
        labels = data.vocabulary.labels
        taken = [name for label in labels for name in (label.name, *label.synonyms)]
        names = common_names(NAMES, taken) if config.remember else []
        features = encode_labels(start, [*labels, *(Label(name=name) for name in names)])
        self.module = PhotographTagger(start, features, config.tower)
        self.module.to(accelerator.device).eval()
        self._features = self._tower_features() if is_cached(config) else {}

    @property
    def loop(self) -> LoopConfig:
        """The loop's settings. Cached features are only read, so no loader processes are used."""
        if not self._features:
            return self._config.loop
        return self._config.loop.model_copy(update={"workers": 0})

    def create_task(self) -> tuple[PhotographsTask, np.ndarray]:
        """The task, ready for `train`, and the scores [N, C] of the validation photographs before
        training."""
        config, train = self._config, self._data.train
        names = torch.arange(len(train.label_names), len(self.module.refined))
        before = self.score_validation()
        labels = assume_negatives(self._data.validation).labels
        start_precision = mean_average_precision(before, labels)

        def compare(_: Accelerator) -> dict[str, float]:
            precision = mean_average_precision(self.score_validation(), labels)
            return {"validation/mAP": precision, "start/mAP": start_precision}

        preprocessing = self._start.manifest.preprocessing
        if self._features:
            train_data: PixelViews | FeatureViews = FeatureViews(self._features["train"], train)
        elif config.augment:
            views: Literal["augmented", "mirrored"] = "augmented" if config.tower == "tuned" else "mirrored"
            train_data = PixelViews(train, preprocessing, views)
        else:
            train_data = PixelViews(train, preprocessing, "plain")
        schedule = WarmUpCosine(config.learning_rate, 0.0, config.warm_up_epochs, config.loop.epochs)
        task = PhotographsTask(
            module=self.module,
            schedule=schedule,
            train_data=train_data,
            loss=choose_loss(config, train.labels),
            positive_weights=positive_weights(config, train.labels),
            start_scores=self._score("train", names, "what to remember").half(),
            remember=config.remember,
            tower_scale=config.tower_learning_rate / config.learning_rate,
            evaluation=compare,
        )
        return task, before

    def score_validation(self) -> np.ndarray:
        """Scores [N, C] of the validation photographs, the same in every process."""
        return self._score("validation", torch.arange(len(self._data.train.label_names)), "validate").numpy()

    def identity(self) -> dict[str, Any]:
        """The identity of the run; see `train`."""
        config, digest = self._config, hashlib.sha256()
        for part in (self._data.train, self._data.validation):
            digest.update("\n".join(part.ids or ()).encode() + part.labels.tobytes())
        elsewhere = {"loop", "start", "photographs", "labels", "shards", "validation", "check", "bad_data"}
        return {
            "task": config.model_dump(mode="json", exclude=elsewhere),
            "start": self._start.checkpoint_id,
            "photographs": digest.hexdigest(),
        }

    def _tower_features(self) -> dict[str, TowerFeatures]:
        parts = {"train": self._data.train, "validation": self._data.validation}
        features = {
            name: tower_features(
                self.module.backbone,
                self.module.head,
                part.image_paths,
                self._start.manifest.preprocessing,
                self._config.augment and name == "train",
                self._accelerator,
                self._directory / "features",
                stored_form(self._config, name),
                f"image tower, {name}",
            )
            for name, part in parts.items()
        }
        self.module.match_pooled(features["validation"].patches)
        return features

    def _score(self, part: str, columns: Tensor, description: str) -> Tensor:
        """Scores [N, n] of a part under the labels and names `columns`."""
        if part in self._features:
            return score_features(self.module, self._features[part], columns, description)
        photographs = self._data.train if part == "train" else self._data.validation
        columns = columns.to(self._accelerator.device)
        (scores,) = map_photographs(
            lambda pixel_values: [self.module(pixel_values, columns)],
            self._accelerator,
            photographs.image_paths,
            self._start.manifest.preprocessing,
            description,
            workers=self._config.loop.workers,
        )
        return scores


def stored_form(config: PhotographsConfig, part: str) -> Form:
    """The form in which the features of `train` or `validation` are kept. Epochs are compared, and the
    threshold is chosen, on whole features, which is what the service will see."""
    assert config.cache != "none"
    return "float16" if part == "validation" and config.cache == "pooled" else config.cache


def is_cached(config: PhotographsConfig) -> bool:
    """Whether the image tower's features are kept on disk."""
    return config.tower == "frozen" and config.cache != "none"
