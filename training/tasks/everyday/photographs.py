"""One photograph of a data set, with its labels."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sigrl.training.data.dataset import DataError

Role = Literal["train", "val", "test"]
"""The purpose of a photograph; only `train` is ever trained on."""


@dataclass(frozen=True)
class Photograph:
    """A file and its labels, in the data set's own words."""

    path: Path
    source: str
    """`everyday`, `coco`, or a key of the configuration's `sources`."""
    repository: str
    """The repository that published it, `owner/name`."""
    place: str
    """Path within that repository."""
    role: Role = "train"
    dense: bool = False
    """Whether every name of `everyday` that is neither in `positive` nor in `unsure` does not apply."""
    positive: frozenset[str] = frozenset()
    """Names of `everyday` that apply."""
    unsure: frozenset[str] = frozenset()
    """Names of `everyday` that may apply."""
    coco_positive: frozenset[str] = frozenset()
    """COCO labels that apply."""
    coco_known: frozenset[str] = frozenset()
    """COCO labels that are known; those not in `coco_positive` do not apply."""
    sought: bool = False
    """Whether it was searched for because of its content; then it says nothing about how common that is."""
    captions: tuple[str, ...] = ()
    view: int = 0
    """0 is the whole photograph; every other number is a random crop (see `views`)."""
    folder: str | None = None
    """The class folder of the photograph as the data set spells it, for instance `Fruit/Lemon`."""


def require_photographs(photographs: Sequence[Photograph], folder: Path, layout: str) -> list[Photograph]:
    """The photographs as a list. Raises DataError if there are none, or if the folder is missing."""
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder: download the data set, or correct the configuration")
    if not photographs:
        raise DataError(f"{folder} has no photographs that match {layout}: download the data set again")
    return list(photographs)
