"""Lists of label names to distil from, and a pattern that finds labels in texts."""

import csv
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from sigrl.training.data.dataset import DataError


def read_label_list(path: Path) -> list[str]:
    """The names in a text file (one per line) or a CSV `identifier,name[,...]`; lower case, in order.

    Alternatives that Objects365 separates with a slash become separate names. A list of Open Images
    identifiers (`/m/...`) is resolved with `openimages_class_descriptions.csv` beside it. Raises DataError
    for a file that is not text.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text ({error}): convert it") from error
    if path.suffix == ".csv":
        rows = csv.reader(text.splitlines())
        lines = [name for row in rows if len(row) > 1 for name in row[1].split("/")]
    else:
        lines = text.splitlines()
        if lines and lines[0].startswith("/m/"):
            descriptions = (path.parent / "openimages_class_descriptions.csv").read_text(encoding="utf-8")
            names = dict(csv.reader(descriptions.splitlines()))
            lines = [names[identifier] for identifier in lines if identifier in names]
    return unique(line.strip().lower() for line in lines)


def unique(names: Iterable[str]) -> list[str]:
    """The names without duplicates and empty ones, in order."""
    return [name for name in dict.fromkeys(names) if name]


def naming_pattern(labels: Sequence[str], other_names: dict[str, Sequence[str]]) -> re.Pattern[str] | None:
    """A pattern for texts that name one of `labels`: the label or another name of it, inflected or not.

    It finds `skateboard` in "skateboarders" and `wine glass` in "wineglasses", but not `cat` in "catch". None
    if there are no labels.
    """
    names = [name for label in labels for name in (label, *other_names.get(label, ()))]
    if not names:
        return None
    # Compounds are spelled "skate board", "wine-glass" and "wineglass".
    spellings = [re.escape(name).replace(r"\ ", r"[ -]?") for name in names]
    return re.compile(r"\b(" + "|".join(spellings) + r")(s|es|ers?|ed|ing)?\b", re.IGNORECASE)
