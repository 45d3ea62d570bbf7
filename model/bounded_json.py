"""Bounds JSON from untrusted senders before it is parsed: a few bytes can become a hundred times as many in
memory, and a parser in C stops all threads until it has finished."""

import json
from collections.abc import Collection
from typing import Any

from pydantic_core import PydanticCustomError

MAX_SEPARATORS = 400_000
"""Maximum number of `,`, `:`, `[` and `{` in a document: twenty for each label of the largest vocabulary."""
_MAX_ESCAPES = 4_000_000
# Scanning in slices lets other threads run in between.
_SLICE = 1 << 20


def loads(text: str) -> Any:
    """Like `json.loads`. Raises ValueError also for a document with too many parts or too deep nesting, and
    for an object that has the same field twice, because the parser would silently drop the first one."""
    check_size(text)
    try:
        return json.loads(text, object_pairs_hook=_each_once)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def check_size(text: str | bytes) -> None:
    """Raises ValueError if the JSON text has more than `MAX_SEPARATORS`, or millions of escapes. Separators
    inside strings count as well, because only a parser can tell them apart."""
    separators, escapes = 0, 0
    for start in range(0, len(text), _SLICE):
        piece = text[start : start + _SLICE]
        separators += _count(piece, ",:[{")
        escapes += _count(piece, "\\")
        if separators > MAX_SEPARATORS:
            raise ValueError(f"it has more than {MAX_SEPARATORS:,} commas, colons and brackets")
        if escapes > _MAX_ESCAPES:
            raise ValueError(f"it has more than {_MAX_ESCAPES:,} backslashes")


def refuse_unknown_fields(given: Any, known: Collection[str]) -> Any:
    """Returns a value of a document unchanged. Raises PydanticCustomError for the first unknown field of an
    object, because pydantic would make an error for each of them."""
    if isinstance(given, dict) and len(given) > len(known):
        unknown = next(str(name) for name in given if name not in known)
        raise PydanticCustomError("unknown_field", "there is no field `{name}`", {"name": unknown[:40]})
    return given


def _each_once(fields: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(fields)
    if len(found) < len(fields):
        names = [name for name, _ in fields]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"an object has the field `{twice[:40]}` twice")
    return found


def _count(piece: str | bytes, marks: str) -> int:
    if isinstance(piece, str):
        return sum(map(piece.count, marks))
    return sum(map(piece.count, marks.encode()))
