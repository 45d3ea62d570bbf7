"""The origin of a checkpoint, for its manifest."""

import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from sigrl.training.config import TrainingConfig

_LICENCES = {
    "image tower": "initialised from EfficientNet-Lite2, ImageNet weights (Apache-2.0)",
    "text tower": "all-MiniLM-L6-v2 (Apache-2.0), stored in int8, with a trained linear map",
    "annotations": "MS-COCO, CC BY 4.0; the photographs, under Flickr terms, are not in the bundle",
    "checkpoint": "Apache-2.0",
}


def provenance(settings: TrainingConfig, commands: list[str]) -> dict[str, Any]:
    """Data, configuration, commands, commit, machine and licences."""
    return {
        "data": f"{settings.data.root.name}/{settings.data.train_split}",
        "hidden_labels": list(settings.data.hidden_labels),
        "commands": commands,
        "configuration": settings.model_dump(mode="json", include={"pretrain", "fit", "threads"}),
        "commit": commit(),
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{platform.machine()}, torch {torch.__version__}, {settings.threads} threads",
        "licences": _LICENCES,
    }


def commit() -> str:
    """The commit of this code; "unknown" outside a working tree or without git."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        described = subprocess.run(
            command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False
        )
    except OSError:
        return "unknown"
    return described.stdout.strip() or "unknown"
