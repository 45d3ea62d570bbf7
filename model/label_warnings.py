"""Why a label cannot be judged by a checkpoint, before anybody believes its probability. Imports without
torch."""

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from sigrl.model.vocabulary import Label

LEAST_FAMILIARITY = 0.2
"""A checkpoint that knows a label less well than this says nothing of it."""
ABSENCE = (
    "it names what is absent, and the checkpoint sees only what is there: look for the thing itself, a low "
    "probability of which says that it is absent"
)
UNKNOWN = (
    "the checkpoint does not know this word: use an English word, or give the label a synonym, a prompt or "
    "examples"
)
_ABSENT = re.compile(
    r"(?<!\S)(?:no|not|without|none|neither|nor|never|(?:is|are|does|do|has|have)n['\u2019]t|non-\w+)(?!\S)"
)
_OF_A_PICTURE = re.compile(r"\b(?:sign|signs|symbol|symbols)\b")


def names_an_absence(label: "Label") -> bool:
    """Whether a text of the label says what is not there, in English, as "no dog"; a "no parking sign" is
    there."""
    texts = (text.casefold() for text in label.texts(["{label}"]))
    return any(_ABSENT.search(text) and not _OF_A_PICTURE.search(text) for text in texts)


def warnings(absences: Iterable[int], familiarity: npt.NDArray[np.floating] | None) -> dict[int, str]:
    """What to say of which labels, by row: of those that name an absence, and of those that a checkpoint
    hardly knows by its `familiarity` [C], None where it cannot tell."""
    known = np.ones(0) if familiarity is None else familiarity
    unknown: list[int] = np.flatnonzero(known < LEAST_FAMILIARITY).tolist()
    return dict(sorted((dict.fromkeys(unknown, UNKNOWN) | dict.fromkeys(absences, ABSENCE)).items()))
