"""`python -m benchmarks.left_out`: how well words are found that nobody labelled.

The names of `everyday` are divided into folds. For each fold a network is trained without its names: they are
left out of all labels and class names, while captions may name them, as they may name whatever a user asks
for. The weights of new words are fitted on `train` and `val` photographs, for each word from other words of
its fold, and the words are measured on `test`. The threshold, one for each fold, is chosen on the photographs
of the fit. A finished fold is not trained again. The photographs have the size of the last stage.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from benchmarks.measuring import markdown_table, mean_and_deviation
from sigrl.training.backbones.initialisation import minilm_tokenizer, starting_point
from sigrl.training.data.dataset import read_yaml
from sigrl.training.tasks.everyday.config import EverydayConfig, LeftOutConfig
from sigrl.training.tasks.everyday.draft import make_draft
from sigrl.training.tasks.everyday.left_out import left_out_config
from sigrl.training.tasks.everyday.new_words import fit_left_out
from sigrl.training.tasks.everyday.run import at_size, train
from sigrl.training.tasks.everyday.sources import read_names
from sigrl.training.tasks.everyday.start import Start

MEASURES = ("mAP", "precision", "recall", "F1", "ECE")


def main(
    config: Annotated[Path, typer.Option()] = Path("training/configs/everyday.yaml"),
    directory: Annotated[Path, typer.Option("-o", help="Folder for the trainings")] = Path("runs/left_out"),
    folds: Annotated[int, typer.Option(min=2)] = 5,
    steps: Annotated[int, typer.Option(min=1, help="Steps of each training")] = 500,
    tuned_blocks: Annotated[int, typer.Option(min=1, help="Last blocks of the tower to train")] = 1,
    seed: Annotated[int, typer.Option(help="Seed of the folds")] = 0,
) -> None:
    """Print the table as Markdown. Each of five folds takes ten minutes of two cores, after a pass of the
    frozen tower over all photographs."""
    settings, start = short_recipe(config, tuned_blocks)
    names = read_names(settings.everyday)
    order = np.random.default_rng(seed).permutation(len(names))
    found = []
    for number, fold in enumerate(np.array_split(order, folds)):
        words = tuple(names[place] for place in sorted(fold.tolist()))
        without = left_out_config(settings, LeftOutConfig(steps=steps), words)
        draft = make_draft(train(without, directory / f"{steps}-{tuned_blocks}-{seed}-{number}", start))
        fitted = fit_left_out(draft, words)
        found.append([fitted.measured[f"left-out words, {name}"] for name in MEASURES])
        typer.echo(f"fold {number + 1}: mAP {found[-1][0]:.1f}, F1 {found[-1][3]:.1f}", err=True)
    rows = [_row(str(number), values) for number, values in enumerate(found, start=1)]
    spread = [mean_and_deviation(values) for values in zip(*found, strict=True)]
    print(markdown_table(["fold", *MEASURES], [*rows, ["mean", *spread]]))


def short_recipe(config: Path, tuned_blocks: int) -> tuple[EverydayConfig, Start]:
    """The configuration and the frozen towers for trainings of one stage, at the size of the last one."""
    settings = EverydayConfig.model_validate(read_yaml(config))
    training = settings.training.model_copy(update={"tuned_blocks": tuned_blocks})
    settings = settings.model_copy(update={"training": training})
    start = Start(*starting_point(settings.backbone), minilm_tokenizer())
    for stage in settings.views:
        settings, start = at_size(stage, settings, start)
    return settings, start


def _row(title: str, values: Sequence[float]) -> list[str]:
    return [title, *(f"{one:.1f}" for one in values)]


if __name__ == "__main__":
    typer.run(main)
