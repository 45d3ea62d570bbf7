"""`python -m benchmarks.head_parts`: what the parts of the evidence head bring, with a deviation over seeds.

Each seed is a training of the short recipe: one stage, at the size of the last one. The head is then built up
part by part. Its weights and its threshold are chosen on `val`, as for a checkpoint, and it is measured on
`test`. A finished training is not repeated. Words of captions are left out: they are no known words.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from benchmarks.left_out import short_recipe
from benchmarks.measuring import markdown_table, mean_and_deviation
from sigrl.training.tasks.everyday.draft import Draft, make_draft
from sigrl.training.tasks.everyday.evaluation import measure, measure_head
from sigrl.training.tasks.everyday.graph import graph_arrays
from sigrl.training.tasks.everyday.known_words import default_threshold, known_word_gains
from sigrl.training.tasks.everyday.run import train

MEASURES = ("mAP", "precision", "recall", "F1")
Measured = list[dict[str, float]]
"""The measures of each seed, by name."""
_NEVER = 1_000_000_000


def main(
    config: Annotated[Path, typer.Option()] = Path("training/configs/everyday.yaml"),
    directory: Annotated[Path, typer.Option("-o", help="Folder for the trainings")] = Path("runs/head_parts"),
    seeds: Annotated[int, typer.Option(min=2)] = 3,
    steps: Annotated[int, typer.Option(min=1, help="Steps of each training")] = 400,
    tuned_blocks: Annotated[int, typer.Option(min=1, help="Last blocks of the tower to train")] = 1,
) -> None:
    """Print the table as Markdown. Each of three seeds takes a quarter of an hour of two cores, after a pass
    of the frozen tower over all photographs."""
    settings, start = short_recipe(config, tuned_blocks)
    known_words = settings.known_words.model_copy(update={"captions": _NEVER})
    found: dict[str, Measured] = {}
    for seed in range(seeds):
        training = settings.training.model_copy(update={"steps": steps, "seed": seed})
        changes = {"training": training, "known_words": known_words, "views": (), "left_out": None}
        trained = train(
            settings.model_copy(update=changes), directory / f"{steps}-{tuned_blocks}-{seed}", start
        )
        found.setdefault("the embedding alone", []).append({"mAP": measure(trained)["embedding, mAP"]})
        for title, draft in _parts(make_draft(trained)).items():
            measured = measure_head(draft, default_threshold(draft))
            found.setdefault(title, []).append({name: measured[f"head, {name}"] for name in MEASURES})
            typer.echo(f"seed {seed}, {title}: {found[title][-1]}", err=True)
    print(table(found))


def table(found: Mapping[str, Measured]) -> str:
    """The measures of all seeds as Markdown; in brackets, what a part adds to the row above, seed by seed."""
    rows: list[list[str]] = []
    above: Measured = []
    for title, measured in found.items():
        rows.append(
            [title, *(_cell(measured, above if title.startswith("…") else None, name) for name in MEASURES)]
        )
        above = measured
    return markdown_table(["", *MEASURES], rows)


def _parts(full: Draft) -> dict[str, Draft]:
    """The head without classes, rivals and graph, and with each of them added."""
    bare = _reduced(full, "kind_pairs", "broader_words", "broader_pairs", "rival_pairs")
    logits = bare.fitted({}, known_word_gains(bare) | {"known_open": 0.0})
    graph = graph_arrays(full)
    drafts = {
        "… and matching": bare,
        "… and the graph": bare.fitted(graph, {}),
        "… and classes": _reduced(full, "rival_pairs").fitted(graph, {}),
        "… and rivals: the whole head": full.fitted(graph, {}),
    }
    fitted = {title: draft.fitted({}, known_word_gains(draft)) for title, draft in drafts.items()}
    return {"the known words' logits alone": logits, **fitted}


def _reduced(full: Draft, *parts: str) -> Draft:
    """The head without some parts, named by their fields of its configuration."""
    evidence = full.head.evidence
    assert evidence is not None
    nothing = {name: type(getattr(evidence, name))() for name in parts}
    return full.with_evidence(evidence.model_copy(update=nothing)).with_prior()


def _cell(measured: Measured, above: Measured | None, name: str) -> str:
    """Empty if the row has no such measure."""
    values = [one[name] for one in measured if name in one]
    if not values or above is None:
        return mean_and_deviation(values) if values else ""
    added = np.subtract(values, [one[name] for one in above])
    return f"{mean_and_deviation(values)} ({mean_and_deviation(added, sign='+')})"


if __name__ == "__main__":
    typer.run(main)
