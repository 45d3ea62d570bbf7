"""Finds photographs in files and folders."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NoReturn

from sigrl.model.photograph_files import SUFFIXES, photographs_below
from sigrl.service.errors import ParameterError
from sigrl.service.terminal import printable


def find_photographs(arguments: Iterable[Path]) -> Iterator[Path]:
    """Yields each file as given, whatever its type, and all photographs that `photographs_below` finds in
    each folder. Raises ParameterError for a path that does not exist, a folder without photographs, and a
    folder that cannot be read."""
    for argument in arguments:
        # os.path instead of Path: for names that are too long or forbidden it returns False, and Path raises.
        if not os.path.exists(argument):
            raise ParameterError(f"there is no file '{printable(argument)}'", "check the path")
        found = False
        for path in photographs_below(argument, _refuse) if argument.is_dir() else [argument]:
            found = True
            yield path
        if not found:
            hint = f"the suffixes of photographs are {' '.join(sorted(SUFFIXES))}"
            raise ParameterError(f"there is no photograph in the folder '{printable(argument)}'", hint)


def _refuse(error: OSError) -> NoReturn:
    detail = f"the folder '{printable(Path(error.filename))}' cannot be read: {error.strerror}"
    raise ParameterError(detail, "check its permissions") from error
