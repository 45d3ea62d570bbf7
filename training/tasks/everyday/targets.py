"""What is known of each photograph as matrices: names, COCO's labels among them, and words of captions."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sigrl.training.data.label_lists import unique
from sigrl.training.tasks.everyday.hidden import Hidden
from sigrl.training.tasks.everyday.names import ClassNames, Mentions, inflected, plain
from sigrl.training.tasks.everyday.photographs import Photograph
from sigrl.training.tasks.everyday.readers import FIRST_LABELS

_DOUBTFUL_FROM = 8
"""Mentions on dense photographs from which on it is judged whether captions mean the name by the word."""
_DOUBTFUL_ERRORS = 0.35
"""Share of mentions without the thing, above which they are not believed."""


@dataclass(frozen=True, eq=False)
class Targets:
    """N photographs, K known words, V other words."""

    known_words: tuple[str, ...]
    """The names of `everyday`, then labels of COCO that no name means."""
    known: npt.NDArray[np.int8]
    """[N, K]: +1 the word holds, -1 it does not, 0 nobody said; parents of what holds are filled in. Of a
    hidden word nothing is known."""
    doubtful: tuple[str, ...]
    """Names whose mentions in captions were not believed."""
    words: tuple[str, ...]
    """Those that captions and class names may mention, known ones left out."""
    mentions: tuple[tuple[int, ...], ...]
    """N times places in `words`, in order."""


def make_targets(
    photographs: Sequence[Photograph], names: ClassNames, hidden: Hidden, listed: Iterable[str]
) -> Targets:
    """Targets for photographs from which hidden labels are removed (`Hidden.remove`).

    `listed` are the words of label lists. Dense labels of photographs to train on decide which mentions in
    captions are believed.
    """
    own = tuple(names.tables["coco_own"])
    known = np.zeros((len(photographs), len(names.names) + len(own)), dtype=np.int8)
    for row, photograph in zip(known, photographs, strict=True):
        _fill(row, photograph, names, own)
    mentioned = _mentioned_names(photographs, names)
    doubtful = _doubtful(photographs, known, mentioned)
    for row, photograph, columns in zip(known, photographs, mentioned, strict=True):
        if not photograph.dense:
            _hold(row, (names.names[column] for column in columns if column not in doubtful), names)
    # What hidden names imply was filled in from others; of themselves nothing may be left.
    known[:, [names.column[name] for name in hidden.names]] = 0
    words, mentions = _other_words(photographs, names, hidden, listed)
    return Targets(
        known_words=(*names.names, *own),
        known=known,
        doubtful=tuple(names.names[column] for column in sorted(doubtful)),
        words=words,
        mentions=mentions,
    )


def _fill(row: npt.NDArray[np.int8], photograph: Photograph, names: ClassNames, own: tuple[str, ...]) -> None:
    """Exact labels first: what they deny, no class name and no caption makes true."""
    if photograph.dense:
        row[: len(names.names)] = -1
        row[[names.column[name] for name in photograph.unsure]] = 0
    for number, label in enumerate(own, start=len(names.names)):
        if label in photograph.coco_known:
            row[number] = 1 if label in photograph.coco_holds else -1
    for name in photograph.holds:
        row[names.column[name]] = 1
    means = {label: meant for label in photograph.coco_known if (meant := names.of_coco(label)) is not None}
    _hold(row, (means[label] for label in photograph.coco_holds if label in means), names)
    vague = names.tables["coco_vague"]
    for label, name in means.items():
        if label not in photograph.coco_holds and label not in vague:
            # Only labels that were given by hand deny what is narrower too.
            narrower = names.descendants[name] if label in FIRST_LABELS else ()
            for denied in (name, *narrower):
                if row[names.column[denied]] == 0:
                    row[names.column[denied]] = -1
    if photograph.folder is not None:
        _hold(row, names.of_folder(photograph.source, photograph.folder), names)


def _hold(row: npt.NDArray[np.int8], holding: Iterable[str], names: ClassNames) -> None:
    for name in holding:
        if row[names.column[name]] != -1:
            for implied in names.with_ancestors(name):
                if row[names.column[implied]] == 0:
                    row[names.column[implied]] = 1


def _mentioned_names(photographs: Sequence[Photograph], names: ClassNames) -> list[set[int]]:
    finder = Mentions(names.caption_forms())
    return [
        {names.column[name] for caption in photograph.captions for name in finder.find(caption)}
        for photograph in photographs
    ]


def _doubtful(
    photographs: Sequence[Photograph], known: npt.NDArray[np.int8], mentioned: Sequence[set[int]]
) -> set[int]:
    counts, errors = np.zeros(known.shape[1]), np.zeros(known.shape[1])
    for photograph, row, columns in zip(photographs, known, mentioned, strict=True):
        if photograph.dense and photograph.role == "train":
            for column in columns:
                counts[column] += 1
                errors[column] += row[column] == -1
    return set(np.flatnonzero((counts >= _DOUBTFUL_FROM) & (errors > _DOUBTFUL_ERRORS * counts)).tolist())


def _other_words(
    photographs: Sequence[Photograph], names: ClassNames, hidden: Hidden, listed: Iterable[str]
) -> tuple[tuple[str, ...], tuple[tuple[int, ...], ...]]:
    stop = {*names.tables["stop_words"], *map(plain, names.names)}
    class_words = [
        [] if one.folder is None else [word for word in names.class_words(one.folder) if word not in stop]
        for one in photographs
    ]
    # Of the lists a name stays out in any spelling; words of folders are the data set's own.
    candidates = [*map(plain, listed), *(word for words in class_words for word in words)]
    words = tuple(word for word in unique(candidates) if word not in stop and hidden.allows(word))
    place = {word: number for number, word in enumerate(words)}
    forms: dict[str, str] = {}
    for word in words:
        for form in inflected(word):
            forms.setdefault(form, word)
    for plural, singular in names.tables["irregular"].items():
        if singular in place:
            forms[plural] = singular
    # A name is found too, so that no part of it passes for another word.
    for name in map(plain, names.names):
        forms[name] = name
    finder = Mentions(forms)
    mentions = []
    for photograph, own in zip(photographs, class_words, strict=True):
        found = {word for caption in photograph.captions for word in finder.find(caption)}
        found.update(word for word in own if word in place)
        mentions.append(tuple(sorted(place[word] for word in found if word in place)))
    return words, tuple(mentions)
