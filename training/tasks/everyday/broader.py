"""The words above known words and classes, as arrays of an evidence head."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import yaml

from sigrl.model.broader_words import BROADER_GAINS, Array
from sigrl.training.data.dataset import DataError

_TABLE = Path(__file__).with_name("broader_words.yaml")
DEFAULT_BROADER_GAINS = {"broader_word": 0.5, "broader_word_offset": 4.5}
"""Near those that were fitted on words left out of a training."""
_LEAST_CLASSES = 5
"""Fewer classes alone are not all that a word means: no parrot but four is a class."""


_LARGEST_ROW = 2048
"""A bundle stores the numbers in half precision, which is exact up to here."""


class Broader(NamedTuple):
    """The broader words of a head; both are empty if there are none."""

    words: tuple[tuple[str, ...], ...]
    """The names of each."""
    arrays: dict[str, Array]
    """`broader_pairs` and `broader_gains` of `sigrl.model.evidence_arrays.shapes`."""


def broader_words(known_words: Sequence[str]) -> Broader:
    """The broader words that have any of `known_words` or enough of ImageNet's classes below them. A known
    word may be among them, and is then scored as a known word. Raises DataError for too many known words."""
    rows = {word: row for row, word in enumerate(known_words)}
    words: list[tuple[str, ...]] = []
    pairs: list[tuple[int, int]] = []
    for entry in yaml.safe_load(_TABLE.read_text(encoding="utf-8")):
        below = [rows[name] for name in entry.get("names", ()) if name in rows]
        classes = _numbers(entry.get("classes", ()))
        if below or len(classes) >= _LEAST_CLASSES:
            below += [len(rows) + number for number in classes]
            pairs += [(len(words), row) for row in below]
            words.append(tuple(entry["words"]))
    if not words:
        return Broader((), {})
    if max(map(max, pairs)) > _LARGEST_ROW:
        raise DataError(f"{len(rows)} known words are too many for the table of broader words")
    gains = np.array([DEFAULT_BROADER_GAINS[name] for name in BROADER_GAINS], np.float32)
    return Broader(tuple(words), {"broader_pairs": np.array(pairs, np.float32), "broader_gains": gains})


def _numbers(ranges: Sequence[int | str]) -> list[int]:
    """[3, "7-9"] -> [3, 7, 8, 9]."""
    found: list[int] = []
    for one in ranges:
        first, _, last = str(one).partition("-")
        found += range(int(first), int(last or first) + 1)
    return found
