"""Photographs among files and folders."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NoReturn

from sigrl.model.photograph_files import SUFFIXES, photographs_below
from sigrl.service.errors import ParameterError
from sigrl.service.terminal import printable


def find_photographs(arguments: Iterable[Path]) -> Iterator[Path]:
    """Files as they are given, whatever they are; of folders all photographs below, as `photographs_below`
    finds them. Raises ParameterError for what does not exist, and for folders without photographs or that
    cannot be read."""
    for argument in arguments:
        # os.path and not Path: it says no to names too long or forbidden, where Path raises.
        if not os.path.exists(argument):
            raise ParameterError(f"there is no file '{printable(argument)}'", "check the path")
        found = False
        for path in photographs_below(argument, _refuse) if argument.is_dir() else [argument]:
            found = True
            yield path
        if not found:
            hint = f"looked for {' '.join(sorted(SUFFIXES))}"
            raise ParameterError(f"there is no photograph in the folder '{printable(argument)}'", hint)


def _refuse(error: OSError) -> NoReturn:
    detail = f"the folder '{printable(Path(error.filename))}' cannot be read: {error.strerror}"
    raise ParameterError(detail, "check its permissions") from error
