"""Writes the tags of a bulk run to a file of JSON Lines, CSV or Parquet, or for FiftyOne. An incomplete file
never appears."""

import csv
import json
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, TypeAlias

from sigrl.service.bulk.fiftyone_dataset import dataset_parts
from sigrl.service.bulk.ledger import Failure
from sigrl.service.errors import ParameterError
from sigrl.service.terminal import with_address

Rows: TypeAlias = Iterable[tuple[Path, str]]
"""(photograph, its tags as JSON)."""

_ROW_GROUP = 10_000


def writer(out: Path) -> Callable[[Path, Rows], None]:
    """The function that writes a file of that name. Raises ParameterError for an unknown suffix, and for
    Parquet if pyarrow is not installed."""
    writers = {
        ".jsonl": _write_jsonl,
        ".csv": _write_csv,
        ".parquet": _write_parquet,
        ".fiftyone.json": _write_fiftyone,
    }
    found = next((write for end, write in writers.items() if out.name.lower().endswith(end)), None)
    if found is None:
        raise ParameterError(f"--out is '{out}'", f"use one of the suffixes {', '.join(writers)}")
    if found is _write_parquet:
        try:
            import pyarrow  # noqa: F401
        except ImportError as error:
            hint = "pip install 'sigrl-tagger[bulk]', or give --out a name that ends in .csv or .jsonl"
            raise ParameterError("Parquet needs pyarrow, which is not installed", hint) from error
    return found


def write_failures(path: Path, failures: Iterable[Failure]) -> int:
    """Writes the failures as CSV and returns their number. Without failures, there is no file."""
    count = 0
    with _whole(path) as unfinished, unfinished.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["path", "error", "detail", "hint"])
        for each in failures:
            count += 1
            table.writerow([_text(each.path), each.code, each.detail, each.hint])
    if not count:
        path.unlink()
    return count


def _write_jsonl(path: Path, rows: Rows) -> None:
    """Writes the lines that `sigrl tag --json` prints."""
    with _whole(path) as unfinished, unfinished.open("w", encoding="utf-8") as file:
        for photograph, content in rows:
            print(json.dumps({"path": with_address(photograph), **json.loads(content)}), file=file)


def _write_csv(path: Path, rows: Rows) -> None:
    """Writes a line for every tag. A photograph without tags gets one line with only its path."""
    with _whole(path) as unfinished, unfinished.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["path", "label", "probability", "threshold", "accepted"])
        for photograph, content in rows:
            tags = json.loads(content)["tags"]
            for tag in tags:
                cells = (tag["label"], tag["probability"], tag["threshold"], str(tag["accepted"]).lower())
                table.writerow([_text(photograph), *cells])
            if not tags:
                table.writerow([_text(photograph), "", "", "", ""])


def _write_fiftyone(path: Path, rows: Rows) -> None:
    with _whole(path) as unfinished, unfinished.open("w", encoding="utf-8") as file:
        file.writelines(dataset_parts(path.name[: -len(".fiftyone.json")], rows))


def _write_parquet(path: Path, rows: Rows) -> None:
    """Writes a row for every photograph, with its tags as a list."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    tag = pa.struct(
        [
            ("label", pa.string()),
            ("probability", pa.float64()),
            ("score", pa.float64()),
            ("threshold", pa.float64()),
            ("accepted", pa.bool_()),
        ]
    )
    schema = pa.schema(
        [
            ("path", pa.string()),
            ("tags", pa.list_(tag)),
            ("checkpoint", pa.string()),
            ("vocabulary", pa.string()),
            ("vocabulary_hash", pa.string()),
        ]
    )
    rows = iter(rows)
    with _whole(path) as unfinished, pq.ParquetWriter(unfinished, schema) as file:
        while group := [_row(*each) for each in islice(rows, _ROW_GROUP)]:
            file.write_table(pa.Table.from_pylist(group, schema=schema))


def _row(photograph: Path, content: str) -> dict[str, Any]:
    tagging = json.loads(content)
    vocabulary = tagging["vocabulary"]
    return {
        "path": _text(photograph),
        "tags": tagging["tags"],
        "checkpoint": tagging["checkpoint"],
        "vocabulary": vocabulary["name"],
        "vocabulary_hash": vocabulary["hash"],
    }


def _text(path: Path) -> str:
    # A file name may contain bytes that are not UTF-8, which neither CSV nor Parquet accepts.
    return os.fsencode(with_address(path)).decode(errors="replace")


@contextmanager
def _whole(path: Path) -> Iterator[Path]:
    unfinished = path.with_name(path.name + ".part")
    try:
        yield unfinished
        os.replace(unfinished, path)
    except OSError as error:
        raise ParameterError(f"cannot write '{path}': {error.strerror}", "give another --out") from error
    finally:
        unfinished.unlink(missing_ok=True)
