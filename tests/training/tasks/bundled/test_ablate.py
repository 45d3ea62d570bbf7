"""One table of heads on the same towers."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from sigrl.model.bundle import load_bundle
from sigrl.training.commands.tables import ablation_table
from sigrl.training.data.coco import load_coco
from sigrl.training.tasks.bundled import ablate as module
from sigrl.training.tasks.bundled.ablate import HEADS, ablate, bridge_scores
from sigrl.training.tasks.bundled.config import TrainingConfig


def test_ablation_has_a_row_for_every_head(
    config: TrainingConfig, towers: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Uses the true labels in place of the bridge, which needs the extra `pretrain` (tested below)."""
    split = load_coco(config.data.root, "val2014")
    monkeypatch.setattr(module, "bridge_scores", lambda *_: torch.from_numpy(split.labels))
    config = config.model_copy(update={"fit": config.fit.model_copy(update={"epochs": 1})})
    rows = ablate(config, load_bundle(towers), [0], cache)
    assert [row.head for row in rows] == ["untrained bridge", *HEADS]
    assert (rows[0].seen, rows[0].hidden, rows[0].all) == ((100, 0), (100, 0), (100, 0))
    for row in rows:
        assert row.seeds == 1
        assert all(0 < mean <= 100 and deviation == 0 for mean, deviation in (row.seen, row.hidden, row.all))
    assert ablation_table(rows).row_count == len(rows)


def test_ablation_deviation_is_over_the_seeds(
    config: TrainingConfig, towers: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    split = load_coco(config.data.root, "val2014")
    monkeypatch.setattr(module, "bridge_scores", lambda *_: torch.from_numpy(split.labels))
    monkeypatch.setattr(module, "HEADS", {"sigrl": {"kind": "sigrl"}})
    found = {}
    for seeds in ([0], [1], [0, 1]):
        found[tuple(seeds)] = ablate(config, load_bundle(towers), seeds, cache)[1]
    first, second = found[(0,)].all[0], found[(1,)].all[0]
    both = found[(0, 1)]
    assert both.seeds == 2
    assert both.all == pytest.approx((np.mean([first, second]), np.std([first, second], ddof=1)))


@pytest.mark.usefixtures("pretrain_packages")
def test_untrained_bridge_scores_every_label(lite_config: TrainingConfig, tmp_path: Path) -> None:
    split = load_coco(lite_config.data.root, "val2014")
    scores = bridge_scores(lite_config, split, tmp_path)
    assert scores.shape == (24, 8)
    assert scores.abs().max() <= 1.001
    assert scores.std() > 0


def test_ablate_command_writes_a_table_and_a_report(
    sigrl_train,
    config_file: Path,
    towers: Path,
    tmp_path: Path,
    monkeypatch,
    coco_root: Path,
) -> None:
    labels = torch.from_numpy(load_coco(coco_root, "val2014").labels)
    monkeypatch.setattr(module, "bridge_scores", lambda *_: labels)
    monkeypatch.setattr(module, "HEADS", {"clip": {"kind": "clip"}})
    report = tmp_path / "rows.json"
    arguments = ("--config", config_file, "--seeds", "0,1", "--report", report)
    status, out, _ = sigrl_train("ablate", towers, *arguments)
    assert status == 0
    assert "untrained bridge" in out
    assert [row["head"] for row in json.loads(report.read_text())] == ["untrained bridge", "clip"]
