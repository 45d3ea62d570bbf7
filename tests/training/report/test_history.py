"""The series in a run's `metrics.jsonl`."""

import json
from pathlib import Path

import pytest

from sigrl.training.data.dataset import DataError
from sigrl.training.report.history import History, read_history


def write(directory: Path, *lines: dict[str, float] | str) -> History:
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    (directory / "metrics.jsonl").write_text("\n".join(texts) + "\n")
    return read_history(directory)


def step(number: int, epoch: int, loss: float, **more: float) -> dict[str, float]:
    speed = {"images_per_second": float(number)}
    return {"step": number, "epoch": epoch, "loss": loss, "learning_rate": 0.1 / number, **more, **speed}


def test_losses_are_per_step_and_measures_per_epoch(tmp_path: Path) -> None:
    found = write(
        tmp_path,
        step(1, 0, 3, ranking=2, gradient_norm=9),
        step(2, 0, 2, ranking=1, gradient_norm=9),
        {"step": 2, "epoch": 0, "seen/mAP": 40.0, "seen/F1@3": 20.0},
        step(4, 1, 1, ranking=0.5, gradient_norm=9),
        {"step": 4, "epoch": 1, "seen/mAP": 50.0, "seen/F1@3": 30.0},
    )
    assert found.losses == {"loss": [(1, 3), (2, 2), (4, 1)], "ranking": [(1, 2), (2, 1), (4, 0.5)]}
    assert found.learning_rate == {"learning_rate": [(1, 0.1), (2, 0.05), (4, 0.025)]}
    assert found.evaluations == {"seen/mAP": [(1, 40), (2, 50)]}
    assert (found.steps, found.images_per_second) == (4, 2)
    first, second = found.epochs
    assert (first.epoch, first.loss, first.learning_rate) == (1, 2.5, 0.05)
    assert second.measured == {"seen/mAP": 50, "seen/F1@3": 30}


def test_without_mean_average_precision_every_measure_is_drawn(tmp_path: Path) -> None:
    found = write(tmp_path, {"step": 1, "epoch": 0, "right": 1.0})
    assert found.evaluations == {"right": [(1, 1)]}


def test_long_series_are_averaged_to_fewer_points(tmp_path: Path) -> None:
    found = write(tmp_path, *(step(number, 0, number % 2) for number in range(1, 1001)))
    assert len(found.losses["loss"]) == 250
    assert {value for _, value in found.losses["loss"]} == {0.5}
    assert found.losses["loss"][-1][0] == 1000


def test_truncated_last_line_is_ignored(tmp_path: Path) -> None:
    assert write(tmp_path, step(1, 0, 3), '{"step": 2, "ep').steps == 1


def test_damaged_line_is_reported(tmp_path: Path) -> None:
    for damaged in ("{", "3", "{}"):
        with pytest.raises(DataError, match=r"metrics\.jsonl, line 1, is damaged"):
            write(tmp_path, damaged, step(1, 0, 3))


def test_run_without_a_log_has_an_empty_history(tmp_path: Path) -> None:
    found = read_history(tmp_path)
    assert (found.steps, found.losses, found.epochs, found.images_per_second) == (0, {}, [], None)


def test_nan_values_are_not_drawn(tmp_path: Path) -> None:
    found = write(tmp_path, {"step": 1, "epoch": 0, "mAP": float("nan")}, {"step": 2, "epoch": 1, "mAP": 1.0})
    assert found.evaluations == {"mAP": [(2, 1)]}
