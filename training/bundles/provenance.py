"""The origin of a checkpoint, for its manifest."""

import subprocess
from pathlib import Path


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
