"""The one form in which training and evaluation see labelled photographs, whatever files they came from."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from sigrl.model.labelled_files import LabelledFileError


class DataError(Exception):
    """The data cannot be used; the message names the file and says what to do."""


@contextmanager
def as_data_error() -> Iterator[None]:
    """Within the block, a file of labels that cannot be used is data that cannot be used."""
    try:
        yield
    except LabelledFileError as error:
        raise DataError(str(error)) from error


@dataclass(frozen=True)
class Problem:
    """One thing in the data that cannot be used, while the rest can."""

    kind: Literal[
        "missing file",
        "unreadable file",
        "label outside the vocabulary",
        "missing labels",
        "contradictory labels",
        "same content, other labels",
    ]
    subject: str
    """The file, the label or the photograph, so that equal ones can be counted."""
    message: str
    """One sentence that says where it is and what to do."""


def stop(problem: Problem) -> None:
    """What readers do with a problem by default: they raise DataError. To go on without what it concerns,
    hand them another function, for instance a list's `append`."""
    raise DataError(problem.message)


@dataclass(frozen=True, eq=False)
class LabelledPhotographs:
    """N photographs, and what is known of C labels on each.

    The files need not be there or be sound; `sigrl.training.data.check` looks.

    Raises ValueError when lengths, shapes or the labels' type do not fit together.
    """

    image_paths: tuple[Path, ...]
    """N files."""
    label_names: tuple[str, ...]
    """C different names."""
    labels: npt.NDArray[np.int8]
    """[N, C]: +1 the label holds, -1 it does not, 0 nobody said."""
    ids: tuple[str, ...] | None = None
    """N different names of the photographs in their data set; splits and published draws go by them."""
    captions: tuple[str | None, ...] | None = None
    """N texts, None where there is none."""

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
        """Some photographs in the order of `rows` [n] (indices), or those where `rows` [N] (bool) is true."""
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
        """All photographs with the labels `names`, in that order. Raises DataError for one it lacks."""
        column = {name: index for index, name in enumerate(self.label_names)}
        if absent := [name for name in names if name not in column]:
            raise DataError(
                f"the data has no label {absent[0]!r} ({len(absent)} of {len(names)} are not there): "
                "take it out of the configuration, or use data that has it"
            )
        return replace(
            self, label_names=tuple(names), labels=self.labels[:, [column[name] for name in names]]
        )

    def with_positives(self) -> "LabelledPhotographs":
        """The photographs on which at least one label holds."""
        return self.select((self.labels == 1).any(axis=1))
