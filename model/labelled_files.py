"""Reads the labels of a user's own photographs from a CSV, JSONL or XML file. Imports without torch."""

import csv
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from sigrl.model.cvat_labels import CvatError, read_cvat

COLUMNS = ("image", "positive", "negative")


class LabelledFileError(ValueError):
    """The file cannot be used; the message names the line and says what to do."""


@dataclass(frozen=True)
class LabelledFile:
    """The labels that one line gives one photograph."""

    image: str
    """Path relative to the folder of photographs, with forward slashes."""
    positive: tuple[str, ...]
    """Labels that apply, as the file spells them."""
    negative: tuple[str, ...]
    """Labels that do not apply."""
    where: str
    """File and line, for messages."""


def read_label_file(path: Path) -> list[LabelledFile]:
    """Reads `.csv`, `.jsonl` or an export from CVAT, `.xml`; in UTF-8.

    A CSV file starts with the headings `image,positive,negative`; the last one may be left out. Semicolons
    separate the labels in a cell:

        image,positive,negative
        beach/1.jpg,dog;wet sand,cat
        beach/2.jpg,,dog

    A JSONL file has one object per line; `positive` and `negative` may be left out:

        {"image": "beach/1.jpg", "positive": ["dog", "wet sand"], "negative": ["cat"]}

    A photograph may have several lines. If semicolons separate the cells of a CSV file, as spreadsheets write
    it in countries with a decimal comma, `|` separates the labels. Raises LabelledFileError, with the line,
    for anything else.
    """
    readers = {".csv": _csv, ".jsonl": _jsonl, ".ndjson": _jsonl, ".xml": _cvat}
    if path.suffix.lower() not in readers:
        raise LabelledFileError(
            f"{path} is neither .csv nor .jsonl, nor .xml from CVAT: write the labels in one of these forms"
        )
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise LabelledFileError(f"{path} is not there: name the file with the labels") from error
    except UnicodeDecodeError as error:
        raise LabelledFileError(f"{path} is not UTF-8 text ({error}): save it as UTF-8") from error
    rows = list(readers[path.suffix.lower()](path, text))
    if not rows:
        raise LabelledFileError(f"{path} names no photograph: write one per line")
    return rows


def _csv(path: Path, text: str) -> Iterator[LabelledFile]:
    first, _, rest = text.partition("\n")
    # Spreadsheets separate cells by semicolons in countries with a decimal comma.
    delimiter, separator = (";", "|") if ";" in first and "," not in first and rest.strip() else (",", ";")
    reader = csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=delimiter)
    try:
        headings = [heading.strip().lower() for heading in next(reader, [])]
        if "image" not in headings or set(headings) - set(COLUMNS) or len(set(headings)) < len(headings):
            raise LabelledFileError(
                f"{path} begins with {delimiter.join(headings)!r}: "
                "begin it with the line `image,positive,negative`"
            )
        for cells in reader:
            where = f"{path}:{reader.line_num}"
            if len(cells) > len(headings):
                raise LabelledFileError(
                    f"{where} has {len(cells)} cells, not {len(headings)}: put "
                    f"{'semicolons' if separator == ';' else separator} between labels"
                )
            if any(cell.strip() for cell in cells):
                row = dict(zip(headings, cells, strict=False))
                positive, negative = (
                    _labels(row.get(column, ""), separator, where) for column in COLUMNS[1:]
                )
                yield _row(where, row.get("image", ""), positive, negative)
    except csv.Error as error:
        raise LabelledFileError(f"{path}:{reader.line_num} is not CSV ({error}): correct the line") from error


def _labels(cell: str, separator: str, where: str) -> list[str]:
    """The labels of a cell. Raises LabelledFileError if another character seems to separate them, because
    they would be read as a single label."""
    for other in ",;|":
        if other != separator and other in cell:
            raise LabelledFileError(
                f"{where} has '{other}' in {cell.strip()!r}: put {separator!r} between labels; a label "
                f"whose own name has '{other}' needs the .jsonl form"
            )
    return cell.split(separator)


def _jsonl(path: Path, text: str) -> Iterator[LabelledFile]:
    # Not splitlines(), which also splits at separators that JSON allows within a string.
    for number, line in enumerate(text.split("\n"), 1):
        where = f"{path}:{number}"
        if not line.strip():
            continue
        try:
            row: Any = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise LabelledFileError(f"{where} is not JSON ({error}): write one object per line") from error
        if not isinstance(row, dict) or not isinstance(row.get("image"), str) or set(row) - set(COLUMNS):
            raise LabelledFileError(
                f"{where} is not an object with only `image`, `positive` and `negative`: correct the line"
            )
        yield _row(where, row["image"], *listed_labels(row, where))


def _cvat(path: Path, text: str) -> Iterator[LabelledFile]:
    try:
        for image, positive, negative in read_cvat(text):
            yield _row(f"{path}: {image}", image, positive, negative)
    except CvatError as error:
        raise LabelledFileError(f"{path} {error}") from error


def listed_labels(content: Mapping[str, Any], where: str) -> tuple[list[str], list[str]]:
    """`positive` and `negative` of an object, see `read_label_file`. Raises LabelledFileError."""
    labels = [content.get(column, []) for column in COLUMNS[1:]]
    if not all(isinstance(names, list) and all(isinstance(one, str) for one in names) for names in labels):
        raise LabelledFileError(f'{where} has labels that are not a list of texts: write ["dog", "cat"]')
    return labels[0], labels[1]


def _row(where: str, image: str, positive: list[str], negative: list[str]) -> LabelledFile:
    if not image.strip():
        raise LabelledFileError(f"{where} names no photograph: write its file name into `image`")
    path = PurePosixPath(image.strip().replace("\\", "/"))
    held, absent = (tuple(name.strip() for name in names if name.strip()) for names in (positive, negative))
    return LabelledFile(str(path), held, absent, where)
