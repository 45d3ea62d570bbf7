"""`sigrl vocab calibrate`: a vocabulary of a server that runs is fitted to one's own photographs."""

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
    "never": "present on no everyday photograph; too rare, or unknown to the checkpoint",
    "always": "present on nearly all everyday photographs, and tells nothing",
}
_PAIR_REMARKS = {
    "near_duplicates": "nearly the same words to the checkpoint; perhaps synonyms",
    "indistinguishable": "hardly told apart on everyday photographs",
}


class Goal(StrEnum):
    """What thresholds are chosen for."""

    F1 = "f1"
    PRECISION = "precision"
    RECALL = "recall"
    FALSE_POSITIVE_RATE = "false-positive-rate"


def calibrate_command(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="A registered vocabulary, as `sigrl vocab list` shows it.")
    ],
    labels_file: Annotated[
        Path,
        typer.Argument(
            metavar="LABELS_FILE",
            help="What photographs show: .csv with the columns image,positive,negative, or .jsonl.",
        ),
    ],
    photographs: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Where the photographs lie; the file's own folder if not given."),
    ] = None,
    goal: Annotated[Goal, typer.Option(help="What thresholds are chosen for.")] = Goal.F1,
    value: Annotated[
        float | None, typer.Option(help="The precision, recall or rate, between 0 and 1; f1 goes without.")
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Forget the examples that the server has of it.")
    ] = False,
    server: ServerOption = LOCAL,
) -> None:
    """Fits a vocabulary's probabilities and thresholds to labelled photographs, on a running server.

    Examples add up over calls, and what is told anew of a photograph counts: a call that was broken off can
    be repeated as it is.
    """
    if (value is None) != (goal is Goal.F1):
        raise ParameterError(
            f"--goal {goal} goes {'without' if goal is Goal.F1 else 'with'} --value",
            "--goal precision --value 0.9, --goal false-positive-rate --value 0.01, or --goal f1",
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
                        f"{where} cannot be used: {result.outcome}", "mend it or leave it out"
                    )
                examples = [(upload, shown[images[index]]) for index, upload in batch.waiting.items()]
                try:
                    report = client.calibrate(name, examples, wanted, replace=replace and not done)
                except TaggerError as error:
                    error.detail += f"; {done} of {len(images)} photographs were taken before" if done else ""
                    raise
                done += len(examples)
                progress(done)
    _show(report)


def _read(labels_file: Path, folder: Path) -> list["LabelledFile"]:
    """The lines, whose photographs are all there. Raises ExamplesError."""
    from sigrl.model.labelled_files import LabelledFileError, read_label_file
    from sigrl.model.photograph_files import ListedPhotographs

    try:
        rows = read_label_file(labels_file)
    except LabelledFileError as error:
        raise ExamplesError(str(error), "`sigrl vocab calibrate --help` tells what can be read") from error
    except OSError as error:
        raise ExamplesError(f"{labels_file} cannot be read: {error.strerror}", "check the path") from error
    listed = ListedPhotographs(folder)
    rows = [replace(row, image=os.path.relpath(listed.find(row.image), folder)) for row in rows]
    for row in rows:
        if not os.path.isfile(folder / row.image):
            raise ExamplesError(
                f"{row.where} names '{printable(folder / row.image)}', which is not there",
                "name the folder of the photographs with --photographs",
            )
    return rows


def _check(rows: Iterable["LabelledFile"], labels: Iterable["Label"], name: str) -> None:
    # The server would say it, too; but after it has taken the photographs before.
    known = {label.name.casefold() for label in labels}
    for row in rows:
        for label in row.positive + row.negative:
            if label.casefold() not in known:
                raise ExamplesError(
                    f"{row.where}: there is no label {label[:80]!a} in the vocabulary '{name}'",
                    "use its labels' names",
                )


def _shown(rows: Iterable["LabelledFile"]) -> dict[str, dict[str, bool]]:
    """By the photograph and the label, whether it holds. Raises ExamplesError."""
    shown: dict[str, dict[str, bool]] = {}
    for row in rows:
        known = shown.setdefault(row.image, {})
        said = dict.fromkeys(row.positive, True)
        for label, holds in [*said.items(), *dict.fromkeys(row.negative, False).items()]:
            if known.setdefault(label, holds) != holds:
                raise ExamplesError(
                    f"{row.where}: {label[:80]!a} both holds and does not on one photograph", "decide"
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
    told = [f"calibration {report.vocabulary.calibration}, by {_counted(report.examples)}"]
    console.print("\n".join([*told, *_warnings(report.hygiene)]), soft_wrap=True, markup=False)


def _counted(photographs: int) -> str:
    return f"{photographs:,} photograph{'' if photographs == 1 else 's'}"


def _warnings(hygiene: "HygieneReport") -> Iterator[str]:
    for key, remark in _LABEL_REMARKS.items():
        if labels := getattr(hygiene, key):
            yield f"{remark}: {', '.join(labels)}"
    for key, remark in _PAIR_REMARKS.items():
        if pairs := [f"{pair.first} / {pair.second}" for pair in getattr(hygiene, key)]:
            yield f"{remark}: {', '.join(pairs)}"
