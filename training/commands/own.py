"""The first command for your own photographs: `init`."""

from pathlib import Path
from typing import Annotated

import typer

from sigrl.training.commands.common import console
from sigrl.training.tasks.photographs.starter_config import write_starter_config


def init_command(
    photographs: Annotated[Path, typer.Argument(help="Folder, or shards: 'train-{000..012}.tar'")],
    labels: Annotated[
        Path | None,
        typer.Argument(help="CSV, JSONL or COCO's JSON; by default, sub-folders are labels"),
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="The new configuration")] = Path(
        "sigrl.yaml"
    ),
) -> None:
    """Write a commented configuration for your own photographs, filled in with what was found in them."""
    told = write_starter_config(photographs, labels, output)
    console.print(told, markup=False, highlight=False, soft_wrap=True)
