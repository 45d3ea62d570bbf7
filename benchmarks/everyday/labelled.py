"""Reads the data set `everyday`: photographs with dense labels, as in shared/data/everyday/README.md."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.everyday.measures import Booleans, Labels
from sigrl.training.data.dataset import DataError

# Ids of photographs that were selected because a model scored them high for a rare name.
_SOUGHT = ("Y", "Z", "M", "R")


@dataclass(frozen=True)
class Photographs:
    """N photographs and their dense labels for C names."""

    names: tuple[str, ...]
    paths: tuple[Path, ...]
    ids: tuple[str, ...]
    splits: npt.NDArray[np.str_]
    """`train`, `val` or `test`, [N]."""
    kinds: npt.NDArray[np.str_]
    """Where the photographs come from, [N]."""
    subjects: tuple[str, ...]
    """The main subject in the labeller's words, [N]."""
    labels: Labels
    """[N, C]: +1 applies, 0 unsure, -1 does not apply."""

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def sought(self) -> Booleans:
        """Which were selected for rare names, so that prevalences among them are unusual, [N]."""
        return np.array([name.startswith(_SOUGHT) for name in self.ids])

    def take(self, rows: npt.NDArray[np.integer]) -> "Photographs":
        """A subset of the photographs."""
        return Photographs(
            self.names,
            tuple(self.paths[row] for row in rows),
            tuple(self.ids[row] for row in rows),
            self.splits[rows],
            self.kinds[rows],
            tuple(self.subjects[row] for row in rows),
            self.labels[rows],
        )


def read(folder: Path) -> Photographs:
    """Reads `names.txt` and `labels.jsonl` in the file's order. Raises DataError if a file is missing or has
    unexpected content."""
    names = tuple(_lines(folder / "names.txt"))
    columns = {name: column for column, name in enumerate(names)}
    file = folder / "labels.jsonl"
    records: list[dict[str, Any]] = []
    labels = np.full((len(lines := _lines(file)), len(names)), -1, np.int8)
    for row, line in enumerate(lines):
        try:
            records.append(record := json.loads(line))
            labels[row, [columns[name] for name in record["unsure"]]] = 0
            labels[row, [columns[name] for name in record["labels"]]] = 1
            _ = record["id"], record["split"], record["kind"], record["main"]
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"{file}, line {row + 1}, is not a labelled photograph: {error!r}") from error
    if not records:
        raise DataError(f"{file} lists no photograph")
    return Photographs(
        names,
        tuple(folder / "photographs" / f"{record['id']}.jpg" for record in records),
        tuple(record["id"] for record in records),
        np.array([record["split"] for record in records]),
        np.array([record["kind"] for record in records]),
        tuple(record["main"] for record in records),
        labels,
    )


def _lines(file: Path) -> list[str]:
    try:
        return [line for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    except OSError as error:
        raise DataError(f"{file} cannot be read ({error.strerror}): give the folder with --data") from error
