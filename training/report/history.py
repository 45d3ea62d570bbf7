"""Reads `metrics.jsonl` of a run as series."""

import json
import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sigrl.training.data.dataset import DataError
from sigrl.training.loop.log import METRICS

Series = Mapping[str, list[tuple[float, float]]]
"""Name -> points (position, value)."""

_POSITION = ("step", "epoch")
_SPEED, _RATE = "images_per_second", "learning_rate"
_POINTS = 300
"""The number of points that a chart can show; longer series are averaged over groups of neighbours."""


@dataclass(frozen=True)
class EpochLine:
    """An epoch in numbers, for those who cannot see the curves."""

    epoch: int
    """Counted from 1."""
    loss: float | None
    """Mean of the logged values."""
    learning_rate: float | None
    """The rate at the end of the epoch."""
    measured: dict[str, float]


@dataclass(frozen=True)
class History:
    """A run so far."""

    steps: int
    losses: Series
    """The loss and its parts by step."""
    learning_rate: Series
    """By step."""
    evaluations: Series
    """Mean average precisions by epoch, counted from 1; all measures if there are none."""
    epochs: list[EpochLine]
    images_per_second: float | None
    """The median of the logged values."""


def read_history(directory: Path) -> History:
    """The history of the run in `directory`; empty if nothing was logged. Raises DataError for a damaged
    file."""
    path = directory / METRICS
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    steps: list[dict[str, float]] = []
    evaluations: list[dict[str, float]] = []
    for number, text in enumerate(lines, 1):
        try:
            line: dict[str, float] = json.loads(text)
            _ = line["step"], line["epoch"]
        except (ValueError, KeyError, TypeError) as error:
            if number == len(lines):
                break  # A running run may be writing this line, or was killed while writing it.
            raise DataError(
                f"{path}, line {number}, is damaged: resume the run with `sigrl-train fit`"
            ) from error
        (steps if _SPEED in line else evaluations).append(line)
    speeds = [line[_SPEED] for line in steps]
    losses = _series(steps, "step")
    rate = {_RATE: losses.pop(_RATE)} if _RATE in losses else {}
    measured = _series(evaluations, "epoch")
    means = {name: points for name, points in measured.items() if "mAP" in name}
    return History(
        steps=int(max((line["step"] for line in [*steps, *evaluations]), default=0)),
        losses={name: points for name, points in losses.items() if name != "gradient_norm"},
        learning_rate=rate,
        evaluations=means or measured,
        epochs=_epochs(steps, evaluations),
        images_per_second=statistics.median(speeds) if speeds else None,
    )


def _series(lines: list[dict[str, float]], position: str) -> dict[str, list[tuple[float, float]]]:
    """Series by name. Epochs are counted from 1 and never averaged."""
    names = dict.fromkeys(name for line in lines for name in line if name not in (*_POSITION, _SPEED))
    shift = 1 if position == "epoch" else 0
    series = {}
    for name in names:
        points = [
            (line[position] + shift, line[name]) for line in lines if math.isfinite(line.get(name, math.nan))
        ]
        series[name] = points if position == "epoch" else _thinned(points)
    return series


def _thinned(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    width = -(-len(points) // _POINTS)
    groups = [points[start : start + width] for start in range(0, len(points), max(width, 1))]
    return [(group[-1][0], statistics.fmean(value for _, value in group)) for group in groups]


def _epochs(steps: list[dict[str, float]], evaluations: list[dict[str, float]]) -> list[EpochLine]:
    result = []
    for epoch in sorted({int(line["epoch"]) for line in [*steps, *evaluations]}):
        of_epoch = [line for line in steps if line["epoch"] == epoch]
        losses = [line["loss"] for line in of_epoch if "loss" in line]
        measured = [line for line in evaluations if line["epoch"] == epoch]
        result.append(
            EpochLine(
                epoch=epoch + 1,
                loss=statistics.fmean(losses) if losses else None,
                learning_rate=of_epoch[-1].get(_RATE) if of_epoch else None,
                measured={
                    name: value for line in measured for name, value in line.items() if name not in _POSITION
                },
            )
        )
    return result
