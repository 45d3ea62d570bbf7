"""The ladder of single-positive losses: one linear classifier on frozen features, trained with each loss.

This compares the losses alone, in minutes on a CPU, as in ROLE's linear mode: 25 epochs of Adam, with rate
and epoch chosen on the validation photographs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from pydantic import BaseModel, TypeAdapter
from torch import Tensor, nn

from sigrl.training.losses.options import Role, SinglePositiveOptions
from sigrl.training.losses.single_positive import single_positive_loss
from sigrl.training.measures.metrics import average_precision_of_thresholds
from sigrl.training.tasks.bundled.config import TrainingConfig
from sigrl.training.tasks.single_positive.labels import LabelEstimator, TrainingLabels
from sigrl.training.tasks.single_positive.ladder_data import LadderData, prepare_ladder
from sigrl.training.terminal import progress_bar

_COCO: dict[str, dict[str, object]] = {
    "an": {},
    "an_ls": {},
    "wan": {},
    "epr": {"expected_positives": 2.9},
    "role": {"expected_positives": 2.9},
    "em": {"entropy_weight": 0.1},
    "em_apl": {"entropy_weight": 0.1, "pseudo_label_weight": 0.9, "warmup_epochs": 5},
    "em_pl": {"entropy_weight": 0.1},
    "em_pl_asl": {"entropy_weight": 0.1},
    "pr": {},
    "iu": {},
    "bce": {},
    "bce_ls": {},
    "iun": {},
}
LOSSES: Mapping[str, SinglePositiveOptions] = {
    kind: TypeAdapter(SinglePositiveOptions).validate_python({"kind": kind, **options})
    for kind, options in _COCO.items()
}
"""With the parameters published for COCO; the last three know all labels and are the reference."""
REFERENCES = ("bce", "bce_ls", "iun")
LEARNING_RATES = (1e-4, 3e-4, 1e-3, 3e-3)
EPOCHS = 25
BATCH_SIZE = 64
"""ROLE used the better of 8 and 16; this is four times the photographs and a quarter of the steps."""


class Row(BaseModel):
    """The results of one loss. Precisions are in percent, mean and deviation over the seeds, over the labels
    that apply to at least one photograph of the split."""

    loss: str
    test: tuple[float, float]
    validation: tuple[float, float]
    learning_rate: float
    """The best on the validation photographs, with the first seed."""
    best_epochs: list[int]
    """The best epoch of each seed, counted from 1."""
    label_count: float
    """Expected number of labels per test photograph (the sum of the probabilities), averaged over photographs
    and seeds."""


@dataclass(frozen=True)
class _Rung:
    """One loss with one rate and one seed, at its best epoch."""

    validation: float
    test: float
    epoch: int
    label_count: float


def single_positive_ladder(config: TrainingConfig, cache: Path, seeds: Sequence[int]) -> list[Row]:
    """All losses on the photographs of `config.data`, whose folder contains their published draw; `cache` as
    for `sigrl-train pretrain`. Raises DataError."""
    return run_ladder(prepare_ladder(config, cache), seeds)


def run_ladder(
    data: LadderData,
    seeds: Sequence[int],
    losses: Mapping[str, SinglePositiveOptions] = LOSSES,
    epochs: int = EPOCHS,
) -> list[Row]:
    """Every loss with its best rate. The rate is chosen with the first seed, the epoch with each seed."""
    rows = []
    with progress_bar() as progress:
        total = len(losses) * (len(LEARNING_RATES) + len(seeds) - 1)
        task = progress.add_task("losses", total=total, note="")

        def rung(loss: SinglePositiveOptions, rate: float, seed: int) -> _Rung:
            fitted = fit_rung(data, loss, rate, seed, epochs)
            progress.update(task, advance=1, note=f"{loss.kind} {rate:g}: {fitted.validation:.2f}")
            return fitted

        for name, loss in losses.items():
            tried = {rate: rung(loss, rate, seeds[0]) for rate in LEARNING_RATES}
            rate = max(tried, key=lambda one: tried[one].validation)
            rungs = [tried[rate], *(rung(loss, rate, seed) for seed in seeds[1:])]
            rows.append(
                Row(
                    loss=name,
                    test=_spread([one.test for one in rungs]),
                    validation=_spread([one.validation for one in rungs]),
                    learning_rate=rate,
                    best_epochs=[one.epoch for one in rungs],
                    label_count=float(np.mean([one.label_count for one in rungs])),
                )
            )
    return rows


def fit_rung(
    data: LadderData, loss: SinglePositiveOptions, learning_rate: float, seed: int, epochs: int = EPOCHS
) -> _Rung:
    """Trains one linear classifier; the test photographs are scored only at the best epoch."""
    torch.manual_seed(seed)
    classifier = nn.Linear(data.train.shape[1], data.observed.shape[1])
    labels = TrainingLabels(loss, epochs, data.observed, data.complete, data.pseudo)
    estimator = LabelEstimator(data.observed) if isinstance(loss, Role) else None
    groups = [{"params": list(classifier.parameters()), "lr": learning_rate}]
    if estimator is not None:
        groups.append({"params": list(estimator.parameters()), "lr": 10 * learning_rate})
    optimizer = torch.optim.Adam(groups, fused=True)
    best, best_epoch, kept = -1.0, 0, {}
    for epoch in range(epochs):
        for rows in torch.randperm(len(data.train)).split(BATCH_SIZE):
            estimated = None if estimator is None else estimator(rows)
            targets = labels.targets(rows, epoch, estimated)
            total = single_positive_loss(loss, classifier(data.train[rows]), targets).total
            optimizer.zero_grad()
            total.backward()
            optimizer.step()
        with torch.no_grad():
            if labels.guesses_after(epoch):
                labels.guess(classifier(data.train))
            measured = mean_average_precision(classifier(data.validation), data.validation_labels)
        if measured > best:
            best, best_epoch = measured, epoch + 1
            kept = {name: one.clone() for name, one in classifier.state_dict().items()}
    classifier.load_state_dict(kept)
    with torch.no_grad():
        logits = classifier(data.test)
    said = logits.sigmoid().sum(dim=1).mean().item()
    return _Rung(best, mean_average_precision(logits, data.test_labels), best_epoch, said)


def mean_average_precision(logits: Tensor, targets: np.ndarray) -> float:
    """Mean average precision in percent, over the labels that apply somewhere."""
    some = targets.any(axis=0)
    return float(average_precision_of_thresholds(logits.numpy()[:, some], targets[:, some]).mean())


def ladder_table(rows: Sequence[Row]) -> str:
    """The results as a Markdown table."""
    lines = [
        "| loss | test mAP | validation mAP | learning rate | best epochs | labels expected |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        name = f"{row.loss} (all labels known)" if row.loss in REFERENCES else row.loss
        epochs = ", ".join(str(epoch) for epoch in row.best_epochs)
        test, validation = (f"{mean:.2f} ± {deviation:.2f}" for mean, deviation in (row.test, row.validation))
        lines.append(
            f"| {name} | {test} | {validation} | {row.learning_rate:g} | {epochs} | {row.label_count:.1f} |"
        )
    return "\n".join(lines)


def _spread(values: Sequence[float]) -> tuple[float, float]:
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    return float(np.mean(values)), deviation
