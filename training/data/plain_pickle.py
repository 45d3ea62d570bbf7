"""Reads lists of names from pickle files without unpickling them, because a pickle is a program."""

import pickletools
from pathlib import Path
from typing import Any

from sigrl.training.data.dataset import DataError

_TEXTS = {
    "SHORT_BINUNICODE",
    "BINUNICODE",
    "BINUNICODE8",
    "UNICODE",
    "SHORT_BINSTRING",
    "BINSTRING",
    "STRING",
}
_BYTES = {"SHORT_BINBYTES", "BINBYTES", "BINBYTES8"}
_REMEMBER = {"PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"}
_RECALL = {"GET", "BINGET", "LONG_BINGET"}
_MARK = object()


def read_pickled_names(path: Path, key: str) -> list[str]:
    """The strings of a pickled list, or of a pickled dictionary that has such a list under `key`.

    The file is parsed, never executed: instructions that build anything but lists, dictionaries and strings
    are refused. Raises DataError, also for a damaged or missing file.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist: complete the folder") from error
    value = _parse(path, content)
    names = value.get(key) if isinstance(value, dict) else value
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise DataError(f"{path} has no list of names under `{key}`: download the file again")
    return names


def _parse(path: Path, content: bytes) -> Any:
    machine = _Machine()
    try:
        for instruction, argument, _ in pickletools.genops(content):
            if not machine.run(instruction.name, argument):
                raise DataError(
                    f"{path} contains more than lists and strings (the instruction {instruction.name}) and "
                    f"is not opened: write its names to {path.with_suffix('.txt').name} beside it"
                )
        (value,) = machine.stack
    # A damaged file may pop an empty stack, recall what was never stored, or append to what is not a list.
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise DataError(f"{path} is damaged or not a pickle ({error}): download the file again") from error
    return value


class _Machine:
    """The part of the pickle machine that builds lists, dictionaries and strings."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memory: dict[int, Any] = {}

    def run(self, name: str, argument: Any) -> bool:
        """Executes one instruction; returns False if it is not allowed."""
        if name in _TEXTS:
            self.stack.append(argument)
        elif name in _BYTES:
            self.stack.append(argument.decode("utf-8"))
        elif name in _REMEMBER:
            self.memory[len(self.memory) if argument is None else argument] = self.stack[-1]
        elif name in _RECALL:
            self.stack.append(self.memory[argument])
        elif name == "MARK":
            self.stack.append(_MARK)
        elif name in ("EMPTY_LIST", "LIST"):
            self.stack.append([] if name == "EMPTY_LIST" else self._from_mark())
        elif name in ("EMPTY_DICT", "DICT"):
            self.stack.append({} if name == "EMPTY_DICT" else _pairs(self._from_mark()))
        elif name in ("APPEND", "APPENDS"):
            items = self._from_mark() if name == "APPENDS" else [self.stack.pop()]
            self.stack[-1].extend(items)
        elif name in ("SETITEM", "SETITEMS"):
            items = self._from_mark() if name == "SETITEMS" else [self.stack.pop(-2), self.stack.pop()]
            self.stack[-1].update(_pairs(items))
        else:
            return name in ("PROTO", "FRAME", "STOP")
        return True

    def _from_mark(self) -> list[Any]:
        start = len(self.stack) - 1 - self.stack[::-1].index(_MARK)
        items = self.stack[start + 1 :]
        del self.stack[start:]
        return items


def _pairs(items: list[Any]) -> dict[Any, Any]:
    return dict(zip(items[::2], items[1::2], strict=True))
