"""`sigrl vocab calibrate`: a vocabulary of a server that runs is fitted to one's own photographs."""

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

import typer

from service.commands.server import LOCAL, ServerOption, ask, connected
from service.errors import ExamplesError, ParameterError, ServerError
from service.rendering import Renderer, printable

if TYPE_CHECKING:
    from model.labelled_files import LabelledFile

# A request holds at most 64 photographs and 64 MiB, where the server's settings do not say otherwise.
_BATCH_PHOTOGRAPHS, _BATCH_BYTES = 32, 32 * 1024 * 1024
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
    FALSE_POSITIVE_RATE = "false-positive-rate"


@dataclass(frozen=True)
class _Photograph:
    """With all that the lines say of it."""

    image: str
    positive: set[str] = field(default_factory=set)
    negative: set[str] = field(default_factory=set)

    def shown(self) -> dict[str, list[str]]:
        return {"positive": sorted(self.positive), "negative": sorted(self.negative)}


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
        float | None, typer.Option(help="The precision or the rate, between 0 and 1; f1 goes without.")
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
    asked = {"goal": str(goal), **({} if value is None else {"value": str(value)})}

    with connected(server) as client:
        path = f"/v1/vocabularies/{quote(name, safe='')}"
        _check(rows, {label["name"].casefold() for label in ask(client, "GET", path)["labels"]}, name)
        found, done = _merged(rows), 0
        with Renderer(as_json=False) as renderer, renderer.phase("calibrating", len(found)) as progress:
            for batch in _batches(found, folder):
                asked["replace"] = str(replace and not done).lower()
                data = {"examples": json.dumps([photograph.shown() for photograph, _ in batch]), **asked}
                files = [("image", (photograph.image, content)) for photograph, content in batch]
                try:
                    report = ask(client, "POST", f"{path}/calibrate", data=data, files=files)
                except ServerError as error:
                    taken = f"; {done} of {len(found)} photographs were taken before" if done else ""
                    raise ServerError(error.detail + taken, error.hint) from error
                done += len(batch)
                progress(done)
    _show(report)


def _read(labels_file: Path, folder: Path) -> list["LabelledFile"]:
    """The lines, whose photographs are all there. Raises ExamplesError."""
    from model.labelled_files import LabelledFileError, read_label_file

    try:
        rows = read_label_file(labels_file)
    except LabelledFileError as error:
        raise ExamplesError(str(error), "`sigrl vocab calibrate --help` tells what can be read") from error
    except OSError as error:
        raise ExamplesError(f"{labels_file} cannot be read: {error.strerror}", "check the path") from error
    for row in rows:
        if not os.path.isfile(folder / row.image):
            raise ExamplesError(
                f"{row.where} names '{printable(folder / row.image)}', which is not there",
                "name the folder of the photographs with --photographs",
            )
    return rows


def _check(rows: Iterable["LabelledFile"], known: set[str], name: str) -> None:
    # The server would say it, too; but after it has taken the photographs before.
    for row in rows:
        for label in row.positive + row.negative:
            if label.casefold() not in known:
                raise ExamplesError(
                    f"{row.where}: there is no label {label[:80]!a} in the vocabulary '{name}'",
                    "use its labels' names; `sigrl vocab show` lists those of this machine",
                )


def _merged(rows: Iterable["LabelledFile"]) -> list[_Photograph]:
    found: dict[str, _Photograph] = {}
    for row in rows:
        photograph = found.setdefault(row.image, _Photograph(row.image))
        photograph.positive.update(row.positive)
        photograph.negative.update(row.negative)
    return list(found.values())


def _batches(found: Iterable[_Photograph], folder: Path) -> Iterator[list[tuple[_Photograph, bytes]]]:
    batch: list[tuple[_Photograph, bytes]] = []
    size = 0
    for photograph in found:
        try:
            content = (folder / photograph.image).read_bytes()
        except OSError as error:
            raise ExamplesError(
                f"'{printable(folder / photograph.image)}' cannot be read: {error.strerror}",
                "check its permissions",
            ) from error
        if batch and (len(batch) == _BATCH_PHOTOGRAPHS or size + len(content) > _BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append((photograph, content))
        size += len(content)
    yield batch


def _show(report: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    table = Table("label", box=None, pad_edge=False, header_style="bold")
    for heading in ("positives", "negatives", "threshold"):
        table.add_column(heading, justify="right")
    arrow = "->" if console.options.ascii_only else "→"
    for label in report["labels"]:
        moved = f"{label['threshold_before']:.2f} {arrow} {label['threshold']:.2f}"
        table.add_row(Text(label["label"]), str(label["positives"]), str(label["negatives"]), moved)
    console.print(table)
    vocabulary = report["vocabulary"]
    told = [f"calibration {vocabulary['calibration']}, by {_counted(report['examples'])}"]
    console.print("\n".join([*told, *_warnings(report["hygiene"])]), soft_wrap=True, markup=False)


def _counted(photographs: int) -> str:
    return f"{photographs:,} photograph{'' if photographs == 1 else 's'}"


def _warnings(hygiene: dict[str, Any]) -> Iterator[str]:
    for key, remark in _LABEL_REMARKS.items():
        if hygiene[key]:
            yield f"{remark}: {', '.join(hygiene[key])}"
    for key, remark in _PAIR_REMARKS.items():
        if pairs := [f"{pair['first']} / {pair['second']}" for pair in hygiene[key]]:
            yield f"{remark}: {', '.join(pairs)}"
