"""Photographs among files and folders."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from sigrl.service.errors import ParameterError
from sigrl.service.terminal import printable

# What a folder is searched for; single files are judged by their content alone.
SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif", ".heic", ".heif", ".hif"}
)


def find_photographs(arguments: Iterable[Path]) -> Iterator[Path]:
    """Files as they are given; of folders all files below that are named like photographs, by name, without
    hidden ones. Folders are read as needed. Raises ParameterError for what does not exist or holds none."""
    for argument in arguments:
        # os.path and not Path: it says no to names too long or forbidden, where Path raises.
        if not os.path.exists(argument):
            raise ParameterError(f"there is no file '{printable(argument)}'", "check the path")
        found = False
        for path in _photographs_below(argument) if argument.is_dir() else [argument]:
            found = True
            yield path
        if not found:
            hint = f"looked for {' '.join(sorted(SUFFIXES))}"
            raise ParameterError(f"there is no photograph in the folder '{printable(argument)}'", hint)


def _photographs_below(folder: Path) -> Iterator[Path]:
    def refuse(error: OSError) -> None:
        # Left out in silence, its photographs would be taken for tagged.
        detail = f"the folder '{printable(Path(error.filename))}' cannot be read: {error.strerror}"
        raise ParameterError(detail, "check its permissions") from error

    for parent, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in SUFFIXES:
                yield Path(parent, name)
