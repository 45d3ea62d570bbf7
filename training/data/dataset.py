"""The common form of labelled photographs in training and evaluation, whatever files they come from."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import yaml

from sigrl.model.labelled_files import LabelledFileError


class DataError(Exception):
    """The data cannot be used; the message names the file and says what to do."""


@contextmanager
def as_data_error() -> Iterator[None]:
    """Within the block, a LabelledFileError becomes a DataError."""
    try:
        yield
    except LabelledFileError as error:
        raise DataError(str(error)) from error


@dataclass(frozen=True)
class Problem:
    """One part of the data that cannot be used, while the rest can."""

    kind: Literal[
        "missing file",
        "unreadable file",
        "label outside the vocabulary",
        "missing labels",
        "contradictory labels",
        "same content, other labels",
    ]
    subject: str
    """The file, the label or the photograph; equal subjects are counted together."""
    message: str
    """One sentence that says where the problem is and what to do."""


def stop(problem: Problem) -> None:
    """The default reaction of readers to a problem: raise DataError. To skip what the problem concerns
    instead, pass them another function, for instance a list's `append`."""
    raise DataError(problem.message)


@dataclass(frozen=True, eq=False)
class LabelledPhotographs:
    """N photographs, and what is known about C labels on each.

    The files may be missing or damaged; `sigrl.training.data.check` looks at them.

    Raises ValueError when lengths, shapes or the labels' dtype do not match.
    """

    image_paths: tuple[Path, ...]
    """N files."""
    label_names: tuple[str, ...]
    """C different names."""
    labels: npt.NDArray[np.int8]
    """[N, C]: +1 the label applies, -1 it does not, 0 unknown."""
    ids: tuple[str, ...] | None = None
    """N different names of the photographs in their data set; splits and published draws refer to them."""
    captions: tuple[str | None, ...] | None = None
    """N texts; None for a photograph without a caption."""

    def __post_init__(self) -> None:
        expected = (len(self.image_paths), len(self.label_names))
        if self.labels.dtype != np.int8 or self.labels.shape != expected:
            raise ValueError(f"labels are int8 {expected}, not {self.labels.dtype} {self.labels.shape}")
        for name in ("ids", "captions"):
            column = getattr(self, name)
            if column is not None and len(column) != len(self.image_paths):
                raise ValueError(f"{len(column)} {name} for {len(self.image_paths)} photographs")

    def __len__(self) -> int:
        return len(self.image_paths)

    def select(self, rows: npt.NDArray[np.integer] | npt.NDArray[np.bool_]) -> "LabelledPhotographs":
        """The photographs at the indices `rows` [n], in that order, or those where `rows` [N] (bool) is
        true."""
        indices = np.arange(len(self))[rows]

        def chosen(column: tuple[Any, ...]) -> tuple[Any, ...]:
            return tuple(column[index] for index in indices)

        return replace(
            self,
            image_paths=chosen(self.image_paths),
            labels=self.labels[indices],
            ids=None if self.ids is None else chosen(self.ids),
            captions=None if self.captions is None else chosen(self.captions),
        )

    def select_labels(self, names: Sequence[str]) -> "LabelledPhotographs":
        """All photographs with the labels `names`, in that order. Raises DataError for a label that is
        missing."""
        column = {name: index for index, name in enumerate(self.label_names)}
        if absent := [name for name in names if name not in column]:
            raise DataError(
                f"the data has no label {absent[0]!r} ({len(absent)} of {len(names)} are missing): "
                "remove it from the configuration, or use data that has it"
            )
        return replace(
            self, label_names=tuple(names), labels=self.labels[:, [column[name] for name in names]]
        )

    def with_positives(self) -> "LabelledPhotographs":
        """The photographs to which at least one label applies."""
        return self.select((self.labels == 1).any(axis=1))


def read_lines(path: Path) -> list[str]:
    """The lines of a text file, stripped, without empty ones. Raises DataError for a file that is not UTF-8,
    and OSError."""
    try:
        return [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text ({error}): convert it") from error


def read_yaml(path: Path) -> Any:
    """The content of a YAML file. Raises DataError if the file is not YAML."""
    try:
        return yaml.safe_load(path.read_bytes())
    except yaml.YAMLError as error:
        raise DataError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
