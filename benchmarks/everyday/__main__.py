"""`python -m benchmarks.everyday [BUNDLE]`: the quality of tags on photographs that nobody selected.

The tagger is used as in the product: with the vocabulary `everyday` at its defaults, and with the brief
answer that it gives without options. It is judged by dense labels of 565 names: each name applies, does not
apply, or is unsure; unsure pairs count in no measure. A tag that is not among the names counts as the nearest
broader name in its vocabulary's hierarchy (`husky` as `dog`), each name once per photograph; without such a
name, it counts as shown but as neither right nor wrong. All photographs go through the model once.
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from benchmarks.everyday import elsewhere
from benchmarks.everyday.answers import (
    Verdict,
    asked,
    name_probabilities,
    question,
    shown_labels,
    shown_names,
    with_implied,
)
from benchmarks.everyday.baselines import baselines
from benchmarks.everyday.labelled import Photographs, read
from benchmarks.everyday.measures import Booleans, Decisions, Numbers
from benchmarks.everyday.page import photographs_page
from benchmarks.everyday.report import BRIEF, EVERYDAY, IMPLIED, section, section_text
from benchmarks.measuring import markdown_table
from sigrl.model.vocabulary import Vocabulary
from sigrl.service.settings import load_settings
from sigrl.service.tagging.tagger import Tagger
from sigrl.service.vocabularies import builtin as vocabularies
from sigrl.training.data.dataset import DataError

_DATA = Path(__file__).parents[3] / "shared" / "data" / "everyday"


def main(
    bundle: Annotated[Path | None, typer.Argument(help="The bundled checkpoint if not given")] = None,
    data: Annotated[Path, typer.Option(help="Folder with labels.jsonl, names.txt and photographs")] = _DATA,
    engine: Annotated[str | None, typer.Option(help="Engine; by default SIGRL_ENGINE")] = None,
    left_out: Annotated[
        Path | None,
        typer.Option(help="Names, one per line, that had no supervision; also measured separately"),
    ] = None,
    with_baselines: Annotated[
        bool, typer.Option("--baselines", help="Also a linear probe, ImageNet's classifier, a constant")
    ] = False,
    coco: Annotated[Path | None, typer.Option(help="Folder in COCO's layout, with val2014")] = None,
    imagenette: Annotated[Path | None, typer.Option(help="Folder of class folders named by synset")] = None,
    one_thing: Annotated[
        Path | None, typer.Option(help="Folder of photographs of one thing each, named SYNSET_*")
    ] = None,
    cache: Annotated[Path, typer.Option(help="Folder for the outputs of frozen modules")] = Path("cache"),
    json_file: Annotated[Path | None, typer.Option("--json", help="Also write the numbers here")] = None,
    page: Annotated[Path | None, typer.Option(help="Write fifty photographs' tags here, as Markdown")] = None,
) -> None:
    """Measure tags on everyday photographs, and on other sets whose folders are given."""
    photographs = read(data)
    apart = _left_out(left_out, photographs.names)
    judged = photographs.take(np.flatnonzero(photographs.splits != "train"))
    tagger = Tagger.from_settings(load_settings(checkpoint=bundle, engine=engine))
    ways, brief = product_ways(tagger, vocabularies.builtin("everyday"), judged)
    if with_baselines:
        ways |= baselines(photographs, judged, cache)
    print(f"Checkpoint {tagger.engine.checkpoint_id}. In percent, but for tags shown; ± one deviation of the")
    print("bootstrap over photographs. What implied labels add is in the row below the brief answer.")
    found: dict[str, Any] = {"checkpoint": tagger.engine.checkpoint_id}
    parts = {
        "test": judged.splits == "test",
        "val": judged.splits == "val",
        "val without those sought for rare names": (judged.splits == "val") & ~judged.sought,
    }
    for title, rows in parts.items():
        if rows.any():
            of_rows = {name: said.photographs(rows) for name, said in ways.items()}
            measured = section(judged.take(np.flatnonzero(rows)), of_rows, apart)
            print(f"\n{section_text(title, measured)}", flush=True)
            found[title] = asdict(measured)
    if coco is not None:
        found["coco"] = elsewhere.coco(tagger, coco)
        _print_numbers("COCO's val2014, `coco80` at its defaults", found["coco"])
    if imagenette is not None:
        found["imagenet names"] = elsewhere.imagenet_names(tagger, imagenette, cache)
        _print_numbers("ImageNet's names", found["imagenet names"])
    if one_thing is not None:
        found["one thing"] = elsewhere.one_thing(tagger, one_thing)
        _print_numbers("The brief answer on photographs of one thing", found["one thing"])
    if json_file is not None:
        json_file.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    if page is not None:
        checkpoint = tagger.engine.checkpoint_id
        page.write_text(photographs_page(judged, brief, tagger.vocabulary, checkpoint), encoding="utf-8")


def product_ways(
    tagger: Tagger, everyday: Vocabulary, photographs: Photographs
) -> tuple[dict[str, Decisions], list[Verdict]]:
    """(the product's tags, by their row in the table; the brief answers). Raises ImageError, ModelError."""
    own, names = tagger.vocabulary, photographs.names
    questions = [question(tagger, everyday), question(tagger, own, brief=True)]
    every, brief = asked(tagger, photographs.paths, questions, "photographs")
    at_defaults = shown_names(every, everyday, names, shown_labels)
    probabilities = name_probabilities(every, everyday, names)
    return {
        EVERYDAY: Decisions(at_defaults.shown, at_defaults.counts, probabilities),
        BRIEF: shown_names(brief, own, names, shown_labels),
        IMPLIED: shown_names(brief, own, names, with_implied),
    }, brief


def _left_out(file: Path | None, names: tuple[str, ...]) -> Booleans:
    """Marks the names in the file, [C]. Raises DataError for a name that is not among `names`."""
    found = np.zeros(len(names), bool)
    for line in [] if file is None else file.read_text(encoding="utf-8").splitlines():
        if line.strip() not in names:
            raise DataError(f"{file}: '{line}' is not in names.txt")
        found[names.index(line.strip())] = True
    return found


def _print_numbers(title: str, found: Numbers) -> None:
    cells = [f"{value}" if isinstance(value, int) else f"{value:.1f}" for value in found.values()]
    header = [name.replace("_", " ") for name in found]
    print(f"\n## {title}\n\n{markdown_table(header, [cells])}", flush=True)


if __name__ == "__main__":
    typer.run(main)
