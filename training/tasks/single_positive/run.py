"""Single positive on VOC or COCO: learns all labels from one known label per photograph.

This is the protocol of ROLE, AckTheUnknown and VLPL, with their losses, pseudo-labels and towers, and with
SigRL's. Deliberate differences from the published code: the towers' own mean and deviation of pixels are used
rather than always ImageNet's; pseudo-labels are made from unmirrored photographs; and the test photographs
are scored once per seed, at the best epoch on the validation photographs.
"""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from shutil import copyfile
from statistics import mean, stdev
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from torch import Tensor, nn

from sigrl.model.bundle import Bundle, load_bundle
from sigrl.model.calibration import probabilities
from sigrl.training.backbones.features import map_photographs, read_photograph
from sigrl.training.data.dataset import LabelledPhotographs
from sigrl.training.loop.log import METRICS
from sigrl.training.loop.loop import Progress, create_accelerator, train
from sigrl.training.loop.schedules import ConstantRate
from sigrl.training.losses.options import Role
from sigrl.training.measures.evaluation import evaluate_scores
from sigrl.training.measures.metrics import average_precision_of_thresholds, f1_threshold
from sigrl.training.measures.results import RESULTS, Outcome, Results, read_results, write_results
from sigrl.training.tasks.single_positive.config import SinglePositiveConfig
from sigrl.training.tasks.single_positive.data import (
    FlippedPhotographs,
    SinglePositiveData,
    load_single_positive,
)
from sigrl.training.tasks.single_positive.labels import LabelEstimator, TrainingLabels
from sigrl.training.tasks.single_positive.saving import save
from sigrl.training.tasks.single_positive.task import SinglePositiveModel, SinglePositiveTask, start_scale
from sigrl.training.tasks.single_positive.teacher import load_pseudo_labels
from sigrl.training.tasks.single_positive.towers import (
    MatchingClassifier,
    create_clip_classifier,
    create_timm_classifier,
)

_SCALED_BY = 64
"""Number of photographs from which a learned scale is initialised."""


def fit_single_positive(config: SinglePositiveConfig, directory: Path) -> Outcome:
    """Trains each seed in `directory/seed-N`, or resumes an interrupted run. Then writes mean and deviation
    to `directory/results.json`, with the first seed's measurements, and the first seed's `bundle` (heads that
    match labels) or `model.safetensors` (classifiers). `torchrun` may start several processes of it.

    Raises DataError for data, weights or a directory that cannot be used, and BundleError.
    """
    accelerator = create_accelerator(config.loop)
    data = load_single_positive(config)
    run = _Run(config, directory, data, accelerator)
    results = [run.fit(seed) for seed in config.seeds]
    measured = _summary(config.seeds, results)
    bundle = directory / "bundle"
    if accelerator.is_main_process:
        shown = results[0].model_copy(update={"measured": measured, "skipped": data.skipped})
        write_results(directory, shown)
        # The report page shows the curves of the seed whose weights are kept.
        copyfile(directory / f"seed-{config.seeds[0]}" / METRICS, directory / METRICS)
    accelerator.wait_for_everyone()
    return Outcome(measured, results[0].best_epoch, bundle if bundle.exists() else None, data.skipped)


class _Run:
    """The state that the seeds of a run share."""

    def __init__(
        self,
        config: SinglePositiveConfig,
        directory: Path,
        data: SinglePositiveData,
        accelerator: Accelerator,
    ) -> None:
        self.config, self.directory, self.data, self.accelerator = config, directory, data, accelerator
        self.start = load_bundle(config.start) if config.start and config.tower.kind == "clip" else None
        self.teacher_id: str | None = None
        self.pseudo: Tensor | None = None
        if config.teacher is not None:
            teacher = load_bundle(config.teacher)
            self.teacher_id = teacher.checkpoint_id
            self.pseudo = load_pseudo_labels(
                directory, teacher, config.pseudo_labels, data.splits.train, accelerator, config.loop.workers
            )

    def fit(self, seed: int) -> Results:
        """Trains one seed and scores the test photographs, unless both were done before."""
        directory = self.directory / f"seed-{seed}"
        loop = self.config.loop.model_copy(update={"seed": seed})
        set_seed(seed)
        task = create_task(self.config, self.data, self.start, self.pseudo)
        progress = train(task, loop, directory, self._identity())
        if (directory / RESULTS).is_file():
            return read_results(directory)
        results = self._test(task.module.classifier, progress, keep=seed == self.config.seeds[0])
        if self.accelerator.is_main_process:
            write_results(directory, results)
        self.accelerator.wait_for_everyone()
        return results

    def _test(self, classifier: nn.Module, progress: Progress, keep: bool) -> Results:
        validation, test = self.data.splits.validation, self.data.test
        # Affine changes such as a learned scale do not affect the published form's probabilities.
        form = classifier.head.config.form if isinstance(classifier, MatchingClassifier) else "context"

        def predict(photographs: LabelledPhotographs) -> tuple[np.ndarray, np.ndarray]:
            logits = _predict(classifier, photographs, self.accelerator, self.config.loop.workers).numpy()
            return logits, probabilities(logits, form)

        targets = (validation.labels == 1).astype(np.float32)
        threshold, _ = f1_threshold(predict(validation)[1], targets)
        scores, likely = predict(test)
        precisions = average_precision_of_thresholds(scores, test.labels == 1)
        measured = {"test/mAP": float(precisions.mean()), "val/mAP": float(progress.best or 0)}
        if keep and self.accelerator.is_main_process:
            save(self.directory, self.config, self.start, classifier, test.label_names, threshold, measured)
        return Results(
            task=self.config.task,
            measured=measured,
            best_epoch=progress.best_epoch,
            skipped=self.data.skipped,
            evaluations={"test": evaluate_scores(scores, likely, threshold, test)},
            configuration=self.config.model_dump(mode="json"),
        )

    def _identity(self) -> Mapping[str, Any]:
        # File locations are not part of the identity.
        paths = {"data": {"root", "draw"}, "pseudo_labels": {"teacher"}, "tower": {"weights"}}
        settings = {"loop": True, "start": True, "seeds": True, "check": True, "bad_data": True}
        weights = self.config.tower.weights if self.config.tower.kind == "timm" else None
        return {
            "task": self.config.model_dump(mode="json", exclude=settings | paths),
            "start": self.start.checkpoint_id if self.start else None,
            "weights": None if weights is None else _sha256(weights),
            "teacher": self.teacher_id,
            "photographs": self.data.fingerprint,
        }


def create_task(
    config: SinglePositiveConfig, data: SinglePositiveData, start: Bundle | None, pseudo: Tensor | None
) -> SinglePositiveTask:
    """The task, ready for `train`. `start` is required for `tower: clip`, and `pseudo` [N, C] for VLPL's
    losses. New parameters are drawn from torch's generator."""
    train_photographs, validation = data.splits.train, data.splits.validation
    workers = config.loop.workers
    if config.tower.kind == "clip":
        assert start is not None, "`tower: clip` starts from a bundle"
        classifier: nn.Module = create_clip_classifier(config.tower, start, train_photographs.label_names)
    else:
        classifier = create_timm_classifier(config.tower, len(train_photographs.label_names))
    preprocessing = classifier.preprocessing
    first = train_photographs.image_paths[:_SCALED_BY]
    start_scale(classifier, [read_photograph(path, preprocessing) for path in first])
    observed = torch.from_numpy(train_photographs.labels)
    complete = torch.from_numpy(data.splits.complete_train.labels)

    def evaluation(module: nn.Module, accelerator: Accelerator) -> dict[str, float]:
        scores = _predict(module, validation, accelerator, workers).numpy()
        return {"val/mAP": float(average_precision_of_thresholds(scores, validation.labels == 1).mean())}

    return SinglePositiveTask(
        module=SinglePositiveModel(
            classifier, LabelEstimator(observed) if isinstance(config.loss, Role) else None
        ),
        labels=TrainingLabels(config.loss, config.loop.epochs, observed, complete, pseudo),
        loss=config.loss,
        schedule=ConstantRate(config.learning_rate),
        head_learning_rate=config.head_learning_rate or config.learning_rate,
        estimator_learning_rate=config.estimator_learning_rate or 10 * config.learning_rate,
        train_data=FlippedPhotographs(train_photographs, preprocessing),
        evaluation=evaluation,
        score_training=lambda module, accelerator: _predict(module, train_photographs, accelerator, workers),
    )


def _predict(
    classifier: nn.Module, photographs: LabelledPhotographs, accelerator: Accelerator, workers: int
) -> Tensor:
    """Logits [N, C] on the CPU."""
    (logits,) = map_photographs(
        lambda pixel_values: [classifier(pixel_values)],
        accelerator,
        photographs.image_paths,
        classifier.preprocessing,
        "evaluate",
        workers=workers,
    )
    return logits


def _sha256(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _summary(seeds: Sequence[int], results: Sequence[Results]) -> dict[str, float]:
    """Mean and deviation over the seeds, and the value of each seed."""
    test = [one.measured["test/mAP"] for one in results]
    measured = {"test/mAP": mean(test), "test/mAP deviation": stdev(test) if len(test) > 1 else 0.0}
    for seed, one in zip(seeds, results, strict=True):
        measured |= {f"{name}, seed {seed}": value for name, value in one.measured.items()}
    return measured
