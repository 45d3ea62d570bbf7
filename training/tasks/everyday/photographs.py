"""What a data set says of one photograph."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sigrl.training.data.dataset import DataError

Role = Literal["train", "val", "test"]
"""What a photograph is for; only `train` is ever trained on."""


@dataclass(frozen=True)
class Photograph:
    """A file and what is known of it, in the data set's own words."""

    path: Path
    source: str
    """`everyday`, `coco`, or a key of the configuration's `sources`."""
    repository: str
    """Where it was published, `owner/name`."""
    place: str
    """Path within that repository."""
    role: Role = "train"
    dense: bool = False
    """Whether each name of `everyday` that is neither in `holds` nor in `unsure` does not hold."""
    holds: frozenset[str] = frozenset()
    """Names of `everyday`."""
    unsure: frozenset[str] = frozenset()
    """Names of `everyday` that may hold."""
    coco_holds: frozenset[str] = frozenset()
    """COCO's labels."""
    coco_known: frozenset[str] = frozenset()
    """COCO's labels of which it is known whether they hold: what is not in `coco_holds` does not."""
    sought: bool = False
    """Whether it was searched for because of what it shows: then it says nothing of how common that is."""
    captions: tuple[str, ...] = ()
    folder: str | None = None
    """The class that the data set files it under, as it is written there, for instance `Fruit/Lemon`."""


def found(photographs: Sequence[Photograph], folder: Path, layout: str) -> list[Photograph]:
    """The photographs, as a list. Raises DataError where there is none, or no folder."""
    if not folder.is_dir():
        raise DataError(f"{folder} is no folder: fetch the data set, or point the configuration at it")
    if not photographs:
        raise DataError(f"{folder} holds no photographs as {layout}: fetch the data set again")
    return list(photographs)
