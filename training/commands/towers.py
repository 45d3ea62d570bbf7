"""The bundled checkpoint's recipe: `pretrain`, `ablate`."""

from pathlib import Path
from typing import Annotated

import typer

from sigrl.model.bundle_files import read_files
from sigrl.training.backbones.initialisation import minilm_tokenizer
from sigrl.training.commands.common import (
    Config,
    NewBundle,
    ReportFile,
    console,
    refuse_several_processes,
    write_numbers,
)
from sigrl.training.commands.tables import ablation_table
from sigrl.training.data.dataset import DataError
from sigrl.training.tasks.bundled.ablate import ablate
from sigrl.training.tasks.bundled.config import load_config
from sigrl.training.tasks.bundled.pretrain import pretrain
from sigrl.training.tasks.bundled.recipe import check_new, load_towers, save_model


def pretrain_command(config: Config, output: NewBundle) -> None:
    """Train the towers, from ImageNet weights and a sentence encoder, and write a bundle with the `mkt`
    head."""
    refuse_several_processes("`pretrain`")
    settings = load_config(config)
    check_new(output)
    backbone, head = pretrain(settings, settings.cache)
    save_model(output, settings, backbone, head, minilm_tokenizer(), 0.5, ["sigrl-train pretrain"])
    console.print(f"wrote {output} ({read_files(output).checkpoint_id})")


def ablate_command(
    towers: Annotated[Path, typer.Argument(help="Bundle that `pretrain` wrote")],
    config: Config,
    seeds: Annotated[str, typer.Option(help="Comma-separated")] = "0,1,2",
    report: ReportFile = None,
) -> None:
    """Fit every head, and the sigrl head without each of its parts, on the same towers, and print a table."""
    refuse_several_processes("`ablate`")
    settings = load_config(config)
    try:
        numbers = [int(seed) for seed in seeds.split(",")]
    except ValueError as error:
        raise DataError(f"--seeds {seeds!r}: write whole numbers separated by commas") from error
    rows = ablate(settings, load_towers(towers, settings), numbers, settings.cache)
    console.print(ablation_table(rows))
    write_numbers(report, rows)
