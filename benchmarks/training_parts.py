"""`python -m benchmarks.training_parts`: what the parts of the training bring, with a deviation over seeds.

The short recipe is trained as it is, and again with each of its parts changed. Each seed leaves other names
of `everyday` out of all labels, to show what new words gain. A change is compared with the whole recipe of
the same seed. Mean average precision is that of the trained heads on `test`, without an evidence head. A
finished training is not repeated.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from benchmarks.left_out import short_recipe
from benchmarks.measuring import markdown_table, mean_and_deviation
from sigrl.training.tasks.everyday.config import EverydayConfig, LeftOutConfig, TrainingSettings
from sigrl.training.tasks.everyday.evaluation import measure
from sigrl.training.tasks.everyday.left_out import left_out_config
from sigrl.training.tasks.everyday.run import train
from sigrl.training.tasks.everyday.sources import read_names

MEASURES = ("known words, mAP", "embedding, mAP", "embedding, hidden words, mAP")
WHOLE = "the whole recipe"
CHANGES: Mapping[str, Mapping[str, Any]] = {
    WHOLE: {},
    "… the tower stays frozen": {"rates": {"tower": 0.0}},
    "… one photograph per step has no dense labels": {"batch": {"others": 1}},
    "… the embedding does not learn known words": {"losses": {"open_words": 0.0}},
    "… captions and class names teach nothing": {"losses": {"captions": 0.0, "mentions": 0.0}},
    "… no bridge to ImageNet's names": {"losses": {"bridge": 0.0}},
}
"""What is changed in `training`."""


def main(
    config: Annotated[Path, typer.Option()] = Path("training/configs/everyday.yaml"),
    directory: Annotated[Path, typer.Option("-o", help="Folder for the trainings")] = Path(
        "runs/training_parts"
    ),
    seeds: Annotated[int, typer.Option(min=2)] = 3,
    steps: Annotated[int, typer.Option(min=1, help="Steps of each training")] = 120,
    tuned_blocks: Annotated[int, typer.Option(min=1, help="Last blocks of the tower to train")] = 1,
) -> None:
    """Print the table as Markdown. Each of 18 trainings takes five minutes of two cores, after a pass of the
    frozen tower over all photographs."""
    settings, start = short_recipe(config, tuned_blocks)
    names = read_names(settings.everyday)
    parts = np.array_split(np.random.default_rng(0).permutation(len(names)), max(5, seeds))
    found: dict[str, list[dict[str, float]]] = {title: [] for title in CHANGES}
    for seed in range(seeds):
        words = tuple(names[place] for place in sorted(parts[seed].tolist()))
        without = left_out_config(settings, LeftOutConfig(steps=steps), words)
        for number, (title, change) in enumerate(CHANGES.items()):
            folder = directory / f"{steps}-{tuned_blocks}-{seed}-{number}"
            measured = measure(train(changed(without, {**change, "seed": seed}), folder, start))
            found[title].append(measured)
            typer.echo(f"seed {seed}, {title}: {measured}", err=True)
    rows = [[title, *(_cell(found, title, name) for name in MEASURES)] for title in CHANGES]
    print(markdown_table(["", *MEASURES], rows))


def changed(settings: EverydayConfig, change: Mapping[str, Any]) -> EverydayConfig:
    """The settings with a change like those of `CHANGES`. Raises ValidationError."""
    content = settings.training.model_dump()
    for name, value in change.items():
        content[name] = {**content[name], **value} if isinstance(value, Mapping) else value
    return settings.model_copy(update={"training": TrainingSettings.model_validate(content)})


def _cell(found: Mapping[str, list[dict[str, float]]], title: str, name: str) -> str:
    """The whole recipe's mean, or how much a change adds to it; empty if a seed has no such words."""
    pairs = [
        (one[name], whole[name]) for one, whole in zip(found[title], found[WHOLE], strict=True) if name in one
    ]
    if len(pairs) < len(found[WHOLE]):
        return ""
    values, of_whole = np.array(pairs).T
    return mean_and_deviation(values) if title == WHOLE else mean_and_deviation(values - of_whole, sign="+")


if __name__ == "__main__":
    typer.run(main)
