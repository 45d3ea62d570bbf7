"""Warnings about labels whose probabilities a checkpoint cannot give reliably. Imports without torch."""

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from sigrl.model.vocabulary import Label

LEAST_FAMILIARITY = 0.2
"""A checkpoint gives no reliable result for a label with less familiarity than this."""
LEAST_FAMILIARITY_OF_FOREIGN = 0.7
"""The same for a word that is not English."""
ABSENCE = (
    "it names what is absent, and the checkpoint sees only what is there: look for the thing itself, a low "
    "probability of which says that it is absent"
)
UNKNOWN = (
    "not an English word that the checkpoint knows: give the label its English name as the translation `en`, "
    "an English prompt or examples"
)
_ABSENT = re.compile(
    r"(?<!\S)(?:no|not|without|none|neither|nor|never|(?:is|are|does|do|has|have)n['\u2019]t|non-\w+"
    # German, French, Spanish, Italian and Portuguese.
    r"|kein(?:e[nmrs]?)?|ohne|aucune?|ning[uú]na?|senza|nessun[ao]?|nenhuma?)(?!\S)"
    # Words that are English too where a phrase does not begin with them; Chinese; Japanese.
    r"|^(?:sans|sin|sem) (?!serif)|^没有|なし$|のない"
)
_OF_A_PICTURE = re.compile(r"\b(?:sign|signs|symbol|symbols)\b")


def names_an_absence(label: "Label") -> bool:
    """Whether a text of the label names something absent, as in "no dog"; a "no parking sign" is present."""
    texts = (text.casefold() for text in label.texts(["{label}"]))
    return any(_ABSENT.search(text) and not _OF_A_PICTURE.search(text) for text in texts)


def warnings(
    absences: Iterable[int], foreign: Iterable[int], familiarity: npt.NDArray[np.floating] | None
) -> dict[int, str]:
    """The warnings by row, for labels that name something absent, and for labels that the checkpoint hardly
    knows according to its `familiarity` [C] (None: it cannot tell). `foreign` are the rows of labels that are
    no English words and must be closer to a known one."""
    unknown: list[int] = []
    if familiarity is not None:
        least = np.full(len(familiarity), LEAST_FAMILIARITY)
        least[list(foreign)] = LEAST_FAMILIARITY_OF_FOREIGN
        unknown = np.flatnonzero(familiarity < least).tolist()
    return dict(sorted((dict.fromkeys(unknown, UNKNOWN) | dict.fromkeys(absences, ABSENCE)).items()))
