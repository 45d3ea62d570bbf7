"""Photographs of one's own for towers of a few thousand weights."""

from pathlib import Path
from typing import Any

import pytest
from own_photographs import write_labels, write_photographs

from sigrl.training.tasks.photographs.config import PhotographsConfig


@pytest.fixture(scope="module")
def own_data(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    """A folder and its lines of labels. Shared by all tests: do not change it."""
    root = tmp_path_factory.mktemp("own")
    lines = write_photographs(root / "photographs")
    write_labels(root / "labels.jsonl", lines)
    return root, lines


@pytest.fixture
def config(own_data: tuple[Path, list[dict[str, Any]]], tiny_bundle: Path) -> PhotographsConfig:
    root, _ = own_data
    return PhotographsConfig.model_validate(
        {
            "start": tiny_bundle,
            "photographs": root / "photographs",
            "labels": root / "labels.jsonl",
            "validation_share": 0.3,
            "learning_rate": 1e-2,
            "remember": 0.1,
            "loop": {"epochs": 4, "batch_size": 8, "log_every": 1, "save_every": 2, "workers": 0},
        }
    )
