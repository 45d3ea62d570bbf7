"""`sigrl vocab calibrate`: fits a running server's vocabulary to labelled photographs."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sigrl.service.commands.server import LOCAL, ServerOption, connected
from sigrl.service.errors import ExamplesError, ParameterError, TaggerError
from sigrl.service.terminal import Renderer, printable

if TYPE_CHECKING:
    from sigrl.model.labelled_files import LabelledFile
    from sigrl.model.vocabulary import Label
    from sigrl.service.schemas.calibration import CalibrationReport, HygieneReport

_LABEL_REMARKS = {
    "never": "present in no everyday photograph; too rare, or unknown to the checkpoint",
    "always": "present in nearly all everyday photographs, so it says nothing",
}
_PAIR_REMARKS = {
    "near_duplicates": "almost identical to the checkpoint; perhaps synonyms",
    "indistinguishable": "hardly distinguishable in everyday photographs",
}


class Goal(StrEnum):
    """What thresholds are optimised for."""

    F1 = "f1"
    PRECISION = "precision"
    RECALL = "recall"
    FALSE_POSITIVE_RATE = "false-positive-rate"


def calibrate_command(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="Name of a registered vocabulary; see `sigrl vocab list`.")
    ],
    labels_file: Annotated[
        Path,
        typer.Argument(
            metavar="LABELS_FILE",
            help="The labels of each photograph: .csv with the columns image,positive,negative, .jsonl, or "
            ".xml from CVAT.",
        ),
    ],
    photographs: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Folder of the photographs; by default that of the labels file."),
    ] = None,
    goal: Annotated[Goal, typer.Option(help="What thresholds are optimised for.")] = Goal.F1,
    value: Annotated[
        float | None,
        typer.Option(help="The precision, recall or rate to reach, between 0 and 1; not used with f1."),
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Delete the examples that the server already has.")
    ] = False,
    server: ServerOption = LOCAL,
) -> None:
    """Fits a vocabulary's probabilities and thresholds to labelled photographs, on a running server.

    Each call adds to the examples on the server; new labels of a photograph replace its old ones. An
    interrupted call can simply be repeated.
    """
    if (value is None) != (goal is Goal.F1):
        raise ParameterError(
            f"--goal {goal} {'takes no' if goal is Goal.F1 else 'needs a'} --value",
            "for example: --goal precision --value 0.9, --goal false-positive-rate --value 0.01, --goal f1",
        )
    folder = photographs or labels_file.parent
    rows = _read(labels_file, folder)
    from sigrl.service.client.connection import AT_ONCE
    from sigrl.service.client.photographs import batches
    from sigrl.service.schemas.calibration import CalibrationGoal

    with connected(server) as client:
        _check(rows, client.get_vocabulary(name).labels, name)
        shown, done = _shown(rows), 0
        images, wanted = list(shown), CalibrationGoal(kind=goal.value, value=value)
        with Renderer(as_json=False) as renderer, renderer.phase("calibrating", len(images)) as progress:
            for batch in batches([folder / image for image in images], AT_ONCE):
                for result in batch.refused:
                    where = f"'{printable(folder / images[result.index])}'"
                    raise ExamplesError(
                        f"{where} cannot be used: {result.outcome}", "repair it or leave it out"
                    )
                examples = [(upload, shown[images[index]]) for index, upload in batch.waiting.items()]
                try:
                    report = client.calibrate(name, examples, wanted, replace=replace and not done)
                except TaggerError as error:
                    error.detail += (
                        f"; the {done} of {len(images)} photographs sent before it are stored" if done else ""
                    )
                    raise
                done += len(examples)
                progress(done)
    _show(report)


def _read(labels_file: Path, folder: Path) -> list["LabelledFile"]:
    """The rows of the labels file. Raises ExamplesError if it cannot be read or a photograph is missing."""
    from sigrl.model.labelled_files import LabelledFileError, read_label_file
    from sigrl.model.photograph_files import ListedPhotographs

    try:
        rows = read_label_file(labels_file)
    except LabelledFileError as error:
        raise ExamplesError(str(error), "see `sigrl vocab calibrate --help` for the formats") from error
    except OSError as error:
        raise ExamplesError(f"{labels_file} cannot be read: {error.strerror}", "check the path") from error
    listed = ListedPhotographs(folder)
    rows = [replace(row, image=os.path.relpath(listed.find(row.image), folder)) for row in rows]
    for row in rows:
        if not os.path.isfile(folder / row.image):
            raise ExamplesError(
                f"{row.where} names '{printable(folder / row.image)}', which does not exist",
                "give the folder of the photographs with --photographs",
            )
    return rows


def _check(rows: Iterable["LabelledFile"], labels: Iterable["Label"], name: str) -> None:
    # The server checks this too, but only after it has stored the photographs of earlier batches.
    known = {word.casefold() for label in labels for word in (label.name, *label.translations.values())}
    for row in rows:
        for label in row.positive + row.negative:
            if label.casefold() not in known:
                raise ExamplesError(
                    f"{row.where}: the vocabulary '{name}' has no label {label[:80]!a}",
                    "use the names of its labels",
                )


def _shown(rows: Iterable["LabelledFile"]) -> dict[str, dict[str, bool]]:
    """By photograph and label, whether the label applies. Raises ExamplesError for contradictions."""
    shown: dict[str, dict[str, bool]] = {}
    for row in rows:
        known = shown.setdefault(row.image, {})
        said = dict.fromkeys(row.positive, True)
        for label, applies in [*said.items(), *dict.fromkeys(row.negative, False).items()]:
            if known.setdefault(label, applies) != applies:
                raise ExamplesError(
                    f"{row.where}: {label[:80]!a} is both positive and negative for one photograph",
                    "remove one of them",
                )
    return shown


def _show(report: "CalibrationReport") -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    table = Table("label", box=None, pad_edge=False, header_style="bold")
    for heading in ("positives", "negatives", "threshold"):
        table.add_column(heading, justify="right")
    arrow = "->" if console.options.ascii_only else "→"
    for label in report.labels:
        moved = f"{label.threshold_before:.2f} {arrow} {label.threshold:.2f}"
        table.add_row(Text(label.label), str(label.positives), str(label.negatives), moved)
    console.print(table)
    told = [f"calibration {report.vocabulary.calibration}, from {_counted(report.examples)}"]
    told += _contradictions(report)
    console.print("\n".join([*told, *_warnings(report.hygiene)]), soft_wrap=True, markup=False)


def _counted(photographs: int) -> str:
    return f"{photographs:,} photograph{'' if photographs == 1 else 's'}"


def _contradictions(report: "CalibrationReport") -> Iterator[str]:
    for label in report.labels:
        if label.overruled:
            examples = "1 example" if label.overruled == 1 else f"{label.overruled:,} examples"
            yield (
                f"{label.label}: {examples} will be tagged against the mark, because another example with "
                "the opposite mark is as probable"
            )


def _warnings(hygiene: "HygieneReport") -> Iterator[str]:
    for key, remark in _LABEL_REMARKS.items():
        if labels := getattr(hygiene, key):
            yield f"{remark}: {', '.join(labels)}"
    for key, remark in _PAIR_REMARKS.items():
        if pairs := [f"{pair.first} / {pair.second}" for pair in getattr(hygiene, key)]:
            yield f"{remark}: {', '.join(pairs)}"
