"""Reads one folder per label, the usual layout for image classifiers: `photographs/dog/1.jpg`."""

from pathlib import Path
from typing import NoReturn

from sigrl.model.labelled_files import LabelledFile
from sigrl.model.photograph_files import photographs_below
from sigrl.training.data.dataset import DataError


def read_class_folders(folder: Path) -> list[LabelledFile]:
    """Every photograph below `folder`. The sub-folder's name is the label, with underscores read as spaces.

    See `photographs_below` for what counts as a photograph and what is skipped. Raises DataError if there is
    no photograph, if a folder cannot be read, or if a photograph is not in a sub-folder.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder: name the folder of the photographs")
    rows = []
    for path in sorted(photographs_below(folder, refuse_folder)):
        inside = path.relative_to(folder)
        if len(inside.parts) == 1:
            raise DataError(
                f"{path} is not in a sub-folder named after a label: name the file with the labels, or "
                "make one folder for each label"
            )
        label = " ".join(inside.parts[0].replace("_", " ").split())
        rows.append(LabelledFile(inside.as_posix(), (label,), (), str(path)))
    if not rows:
        raise DataError(f"{folder} has no sub-folders with photographs: name the file with the labels")
    return rows


def empty_folders(folder: Path) -> list[str]:
    """Names of the sub-folders, which are labels, without a photograph. Raises DataError as
    `read_class_folders` does."""
    return sorted(
        one.name
        for one in folder.iterdir()
        if one.is_dir() and next(iter(photographs_below(one, refuse_folder)), None) is None
    )


def refuse_folder(error: OSError) -> NoReturn:
    """Raises DataError for a folder that cannot be read."""
    raise DataError(f"{error.filename} cannot be read ({error.strerror}): check its permissions") from error
