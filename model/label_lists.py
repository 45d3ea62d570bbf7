"""Reads labels from text files: one per line, tables, and Open Images' class file."""

import csv
import re
from collections.abc import Sequence
from io import StringIO
from typing import Any

from sigrl.model.words import clean_text

COLUMNS = (
    "name",
    "synonyms",
    "prompts",
    "description",
    "parent",
    "exclusive_group",
    "threshold",
    "name:de",
)
"""Columns of a table, in any order; only `name` is required, and `name:de` stands for every language."""

_LISTS = ("synonyms", "prompts")
_TRANSLATION = "name:"
# Identifiers of Freebase and of the Knowledge Graph; later releases of Open Images have a header line.
_OPEN_IMAGES = re.compile(r"(LabelName,DisplayName\s+)?/[mgt]/\w+,")


def read_labels(text: str, suffix: str) -> list[str | dict[str, Any]]:
    """The labels of a text, in the form that `Vocabulary` takes.

    - Open Images' class file, recognised by its first line (`/m/0bt9lr,Dog`): names; `description` contains
      the identifiers. A name that it lists twice, for two things, becomes one label.
    - A table, if the file's suffix is .csv or .tsv: the first line names the columns (see `COLUMNS`);
      several synonyms or prompts in a cell are separated by `|`.
    - Anything else, such as RAM's list of tags: one label per line; `#` starts a comment line.

    Raises ValueError for a table with unknown columns.
    """
    try:
        if _OPEN_IMAGES.match(text):
            return _read_open_images(text)
        if suffix in (".csv", ".tsv") and text.strip():
            return _read_table(text)
    except csv.Error as error:
        raise ValueError(f"it is not a table: {error}") from error
    lines = (line.strip() for line in text.splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def _read_open_images(text: str) -> list[str | dict[str, Any]]:
    identifiers: dict[str, tuple[str, list[str]]] = {}
    for row in csv.reader(StringIO(text, newline="")):
        if len(row) == 2 and row[0] != "LabelName":
            name = clean_text(row[1])
            identifiers.setdefault(name.casefold(), (name, []))[1].append(row[0])
    return [{"name": name, "description": " ".join(known)} for name, known in identifiers.values()]


def _read_table(text: str) -> list[str | dict[str, Any]]:
    header = text.splitlines()[0]
    delimiter = max("\t;,", key=header.count)
    rows = csv.reader(StringIO(text, newline=""), delimiter=delimiter)
    columns = [column.strip() for column in next(rows)]
    if "name" not in columns:
        raise ValueError(
            f"the first line of a table names its columns, and there is no `name` in {header[:80]!a}: "
            f"write {', '.join(COLUMNS)}, or those that you need"
        )
    for column in columns:
        if column not in COLUMNS and not column.startswith(_TRANSLATION):
            raise ValueError(f"there is no column {column[:40]!a}: use {', '.join(COLUMNS)}")
    return [_read_row(columns, row) for row in rows if any(cell.strip() for cell in row)]


def _read_row(columns: Sequence[str], row: Sequence[str]) -> dict[str, Any]:
    if len(row) > len(columns) and any(row[len(columns) :]):
        raise ValueError(
            f"the row of '{row[0][:40]}' has {len(row)} cells for {len(columns)} columns: put quotes around "
            "a cell that contains the separator"
        )
    label: dict[str, Any] = {}
    for column, cell in zip(columns, row, strict=False):
        if not cell.strip():
            continue
        if column in _LISTS:
            label[column] = [piece for piece in cell.split("|") if piece.strip()]
        elif column.startswith(_TRANSLATION):
            label.setdefault("translations", {})[column.removeprefix(_TRANSLATION)] = cell
        else:
            label[column] = cell
    return label
