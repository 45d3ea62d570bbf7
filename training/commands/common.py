"""Shared by the commands: the terminal, common options, JSON reports, and what runs in one process only."""

from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic_core import to_json
from rich.console import Console

from sigrl.training.data.dataset import DataError

console = Console()

Config = Annotated[
    Path, typer.Option("--config", help="YAML file, for instance training/configs/bundled.yaml")
]
NewBundle = Annotated[Path, typer.Option("--output", "-o", help="Directory of the new bundle")]
ReportFile = Annotated[Path | None, typer.Option("--report", help="JSON file for the numbers")]


def write_numbers(path: Path | None, content: Any) -> None:
    """Writes `content` as JSON if a file was asked for."""
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(to_json(content, indent=2, inf_nan_mode="null") + b"\n")


def refuse_several_processes(work: str) -> None:
    """Raises DataError if `torchrun` started several processes. Each would do all of `work`, and write into
    the same directory."""
    from sigrl.training.loop.loop import count_started_processes

    started = count_started_processes()
    if started > 1:
        raise DataError(
            f"{started} processes were started (WORLD_SIZE), but {work} cannot be divided among processes: "
            "start it as one, without torchrun"
        )
