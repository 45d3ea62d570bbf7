"""The ladder of losses on generated features, and on the bundled towers."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from sigrl.training.data.single_positive import observe_one_positive
from sigrl.training.losses.single_positive import LOSSES as ALL_LOSSES
from sigrl.training.tasks.bundled.config import TrainingConfig
from sigrl.training.tasks.single_positive import ladder as single_positive_ladder
from sigrl.training.tasks.single_positive.ladder import (
    LEARNING_RATES,
    LOSSES,
    REFERENCES,
    Row,
    fit_rung,
    ladder_table,
    mean_average_precision,
    run_ladder,
)
from sigrl.training.tasks.single_positive.ladder_data import LadderData

LABELS, FEATURES = 6, 16


@pytest.fixture(scope="module")
def data() -> LadderData:
    """Each label is one direction of noisy features."""
    generator = torch.Generator().manual_seed(0)
    directions = 2 * torch.randn(LABELS, FEATURES, generator=generator)

    def photographs(count: int) -> tuple[torch.Tensor, torch.Tensor]:
        holds = torch.rand(count, LABELS, generator=generator) < 0.35
        holds[:, 0] |= ~holds.any(1)
        noise = torch.randn(count, FEATURES, generator=generator)
        return holds.float() @ directions + noise, holds

    (train, complete), (validation, validated), (test, tested) = map(photographs, (640, 160, 160))
    labels = torch.where(complete, 1, -1).to(torch.int8)
    tested[:, -1] = False
    return LadderData(
        train,
        validation,
        test,
        torch.from_numpy(observe_one_positive(labels.numpy())),
        labels,
        labels,
        validated.numpy(),
        tested.numpy(),
    )


def test_ladder_includes_every_loss() -> None:
    assert LOSSES.keys() == ALL_LOSSES.keys()
    assert LOSSES.keys() >= set(REFERENCES)


def test_ladder_uses_the_best_validation_rate_and_summarizes_seeds(data: LadderData) -> None:
    losses = {name: LOSSES[name] for name in ("an", "bce")}
    rows = run_ladder(data, (0, 1, 8), losses, epochs=2)
    assert [row.loss for row in rows] == ["an", "bce"]
    for row in rows:
        tried = {rate: fit_rung(data, losses[row.loss], rate, 0, 2).validation for rate in LEARNING_RATES}
        assert row.learning_rate == max(tried, key=tried.__getitem__)
        rungs = [fit_rung(data, losses[row.loss], row.learning_rate, seed, 2) for seed in (0, 1, 8)]
        assert row.test[0] == pytest.approx(np.mean([one.test for one in rungs]))
        assert row.test[1] == pytest.approx(np.std([one.test for one in rungs], ddof=1))
        assert row.best_epochs == [one.epoch for one in rungs]
    # Assumed negatives keep expectations low.
    assert rows[0].label_count < rows[1].label_count


@pytest.mark.parametrize("name", ["role", "em_apl", "em_pl"])
def test_pseudo_label_losses_learn_unobserved_labels(data: LadderData, name: str) -> None:
    epochs = 8 if name == "em_apl" else 4
    assert fit_rung(data, LOSSES[name], 1e-2, 0, epochs).test > 80


def test_test_images_are_scored_only_at_the_best_epoch(
    data: LadderData, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def counting(logits: torch.Tensor, holds: np.ndarray) -> float:
        seen.append(holds is data.test_labels)
        return mean_average_precision(logits, holds)

    monkeypatch.setattr(single_positive_ladder, "mean_average_precision", counting)
    fit_rung(data, LOSSES["an"], 1e-3, 0, 3)
    assert seen == [False, False, False, True]


def test_mean_average_precision_skips_labels_without_positives() -> None:
    holds = np.array([[True, False], [False, False]])
    assert mean_average_precision(torch.tensor([[1.0, 0], [0, 1]]), holds) == 100


def test_table_marks_losses_that_use_all_labels() -> None:
    row = Row(
        loss="bce",
        test=(60, 0.5),
        validation=(61, 0),
        learning_rate=1e-3,
        best_epochs=[3, 4],
        label_count=2.9,
    )
    table = ladder_table([row, row.model_copy(update={"loss": "an"})])
    assert table.splitlines()[2:] == [
        "| bce (all labels known) | 60.00 ± 0.50 | 61.00 ± 0.00 | 0.001 | 3, 4 | 2.9 |",
        "| an | 60.00 ± 0.50 | 61.00 ± 0.00 | 0.001 | 3, 4 | 2.9 |",
    ]


@pytest.mark.usefixtures("pretrain_packages")
def test_ladder_runs_on_images(
    coco_root: Path, lite_config: TrainingConfig, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "coco"
    root.mkdir()
    for split in ("train2014", "val2014"):
        (root / split).symlink_to(coco_root / split)
    (root / "annotations").mkdir()
    for file in (coco_root / "annotations").iterdir():
        (root / "annotations" / file.name).write_bytes(file.read_bytes())
    content = json.loads((root / "annotations" / "instances_train2014.json").read_text())
    draw = {str(one["image_id"]): one["category_id"] for one in content["annotations"]}
    (root / "annotations" / "single_positive_train2014.json").write_text(json.dumps(draw))
    config = lite_config.model_copy(update={"data": lite_config.data.model_copy(update={"root": root})})
    monkeypatch.setattr(single_positive_ladder, "LEARNING_RATES", (1e-3,))
    rows = single_positive_ladder.single_positive_ladder(config, cache, (0,))
    assert [row.loss for row in rows] == list(LOSSES)
    assert all(0 < row.test[0] <= 100 and row.learning_rate == 1e-3 for row in rows)
