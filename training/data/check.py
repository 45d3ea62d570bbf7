"""Finds problems in the data before training starts. `check` reports them; the caller decides what to do."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel

from sigrl.training.data.dataset import DataError, LabelledPhotographs, Problem
from sigrl.training.data.opening import open_photograph, photograph_exists
from sigrl.training.terminal import progress_bar

BadData = Literal["stop", "skip"]
"""What a configuration does about data that cannot be used."""


class LabelCount(BaseModel):
    """In how many photographs one label applies, does not apply, or is unknown."""

    label: str
    positive: int
    negative: int
    unknown: int


class DataReport(BaseModel):
    """The findings of `check`."""

    photographs: int
    without_positives: int
    """Photographs to which no label is known to apply."""
    labels: list[LabelCount]
    problems: list[Problem]
    """The reader's problems first, then those of the files, in the order of the photographs."""
    copies: list[Problem] = []
    """Files with the same content as an earlier one but different labels. Training uses them as they are."""
    warnings: list[str] = []
    """What does not prevent training, but is probably not meant."""

    def counts(self) -> dict[str, dict[str, int]]:
        """Kind of problem -> its subjects and how often each occurred, the most frequent first."""
        kinds: dict[str, Counter[str]] = {}
        for problem in self.problems:
            kinds.setdefault(problem.kind, Counter())[problem.subject] += 1
        return {kind: dict(subjects.most_common()) for kind, subjects in kinds.items()}


def check(
    photographs: LabelledPhotographs,
    problems: Sequence[Problem] = (),
    decode: bool = True,
    workers: int = 4,
) -> DataReport:
    """Counts labels and looks at every file, with a progress bar.

    Args:
        photographs: the result of a reader.
        problems: the problems that the reader reported (its `on_problem`).
        decode: decode every photograph to its end, JPEGs at an eighth of their size (some milliseconds each),
            and compare files of equal size; otherwise only check that the files exist.
        workers: number of decoding threads.
    """
    found = list(problems)
    with ThreadPoolExecutor(workers) as pool, progress_bar() as progress:
        bar = progress.add_task("check photographs", total=len(photographs), note="")
        for problem in pool.map(partial(_look, decode=decode), photographs.image_paths):
            if problem is not None:
                found.append(problem)
            progress.update(bar, advance=1)
    labels = photographs.labels
    counts = [(labels == value).sum(axis=0).tolist() for value in (1, -1, 0)]
    return DataReport(
        photographs=len(photographs),
        without_positives=int((~(labels == 1).any(axis=1)).sum()),
        labels=[
            LabelCount(label=name, positive=positive, negative=negative, unknown=unknown)
            for name, positive, negative, unknown in zip(photographs.label_names, *counts, strict=True)
        ],
        problems=found,
        copies=_copies(photographs) if decode else [],
        warnings=_singles(photographs),
    )


def compare_with_protocol(photographs: int, protocol: str, expected: int) -> list[str]:
    """A warning if a part of a published protocol has another number of photographs."""
    if photographs == expected:
        return []
    return [
        f"{photographs:,} photographs, where {protocol} has {expected:,}: numbers from them cannot be "
        "compared with published ones"
    ]


def _singles(photographs: LabelledPhotographs) -> list[str]:
    positives = (photographs.labels == 1).sum(axis=0)
    names = [name for name, count in zip(photographs.label_names, positives, strict=True) if count == 1]
    if not names:
        return []
    shown = ", ".join(f"'{name}'" for name in names[:5]) + (" …" if len(names) > 5 else "")
    return [
        f"labels with a single photograph, which cannot serve for both training and comparison "
        f"({len(names)}): {shown}: add photographs, or remove the labels"
    ]


def without_bad_files(
    photographs: LabelledPhotographs, report: DataReport, bad_data: BadData
) -> LabelledPhotographs:
    """The photographs without a problem in `report`.

    Raises DataError if there is any problem and `bad_data` is `stop`, or if no photograph would be left.
    """
    if report.problems and bad_data == "stop":
        others = len(report.problems) - 1
        more = f" ({others} other problems: `sigrl-train check` lists them)" if others else ""
        raise DataError(report.problems[0].message + more)
    bad = {problem.subject for problem in report.problems if problem.kind in _OF_FILES}
    kept = photographs.select(
        np.array([str(path) not in bad for path in photographs.image_paths], dtype=bool)
    )
    if len(kept) == 0:
        first = f": {report.problems[0].message}" if report.problems else ""
        raise DataError(f"none of {len(photographs)} photographs can be used{first}")
    return kept


def usable(
    photographs: LabelledPhotographs,
    problems: Sequence[Problem] = (),
    *,
    decode: bool,
    bad_data: BadData,
    skipped: Counter[str] | None = None,
) -> LabelledPhotographs:
    """The photographs that pass `check`. The kinds of all problems are counted in `skipped`. Raises as
    `without_bad_files` does."""
    report = check(photographs, problems, decode=decode)
    kept = without_bad_files(photographs, report, bad_data)
    if skipped is not None:
        skipped.update(problem.kind for problem in report.problems)
    return kept


def without_empty_labels(photographs: LabelledPhotographs, bad_data: BadData) -> LabelledPhotographs:
    """The photographs with only those labels that apply to at least one of them.

    Raises DataError if there are other labels and `bad_data` is `stop`, or if no label would be left.
    """
    applies = (photographs.labels == 1).any(axis=0)
    names = [name for name, some in zip(photographs.label_names, applies, strict=True) if some]
    empty = [name for name, some in zip(photographs.label_names, applies, strict=True) if not some]
    if not names or (empty and bad_data == "stop"):
        raise DataError(
            f"the label '{empty[0]}' applies to no photograph ({len(empty)} of {len(applies)} labels have "
            "none): add photographs of it, remove it from the vocabulary, or let such labels be skipped"
        )
    return photographs.select_labels(names)


def _copies(photographs: LabelledPhotographs) -> list[Problem]:
    """Files with the same content as an earlier one but different labels."""
    by_size: dict[int, list[int]] = defaultdict(list)
    for row, path in enumerate(photographs.image_paths):
        # Members of shards are not separate files.
        if path.is_file():
            by_size[path.stat().st_size].append(row)
    found = []
    for rows in by_size.values():
        first: dict[bytes, int] = {}
        for row in rows if len(rows) > 1 else ():
            path = photographs.image_paths[row]
            with path.open("rb") as file:
                earlier = first.setdefault(hashlib.file_digest(file, "sha256").digest(), row)
            if (photographs.labels[row] != photographs.labels[earlier]).any():
                message = (
                    f"{path} has the same content as {photographs.image_paths[earlier]} and other labels: "
                    "keep one of them, or name both labels for it in a file of labels"
                )
                found.append(Problem("same content, other labels", str(path), message))
    return found


_OF_FILES = ("missing file", "unreadable file")


def _look(path: Path, decode: bool) -> Problem | None:
    try:
        if not photograph_exists(path):
            message = f"{path} is not there: complete the folder, or let missing photographs be skipped"
            return Problem("missing file", str(path), message)
        if decode:
            open_photograph(path, smallest=True)
    except DataError as error:
        return Problem("unreadable file", str(path), str(error))
    return None
