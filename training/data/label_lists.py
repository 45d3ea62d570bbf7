"""Lists of label names to distil from, and texts that name a label."""

import csv
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from sigrl.training.data.dataset import DataError


def read_label_list(path: Path) -> list[str]:
    """Names of a text file (one a line), or of a CSV `identifier,name[,...]`; lower case, in order.

    Alternatives that Objects365 writes with a slash become names of their own. A list of Open Images
    identifiers (`/m/...`) is looked up in `openimages_class_descriptions.csv` beside it. Raises
    DataError for a file that is no text.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is no text in UTF-8 ({error}): convert it") from error
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
    """Names without repetition and without empty ones, in order."""
    return [name for name in dict.fromkeys(names) if name]


def naming_pattern(labels: Sequence[str], other_names: dict[str, Sequence[str]]) -> re.Pattern[str] | None:
    """Matches a text that names one of `labels`: the label or another name of it, inflected or not.

    So `skateboard` is found in "skateboarders" and `wine glass` in "wineglasses", but `cat` not in "catch".
    None when there is nothing to find.
    """
    names = [name for label in labels for name in (label, *other_names.get(label, ()))]
    if not names:
        return None
    # People write "skate board", "wine-glass" and "traffic light".
    spellings = [re.escape(name).replace(r"\ ", r"[ -]?") for name in names]
    return re.compile(r"\b(" + "|".join(spellings) + r")(s|es|ers?|ed|ing)?\b", re.IGNORECASE)
