"""Turns the labels of all photographs into matrices: names, with COCO's labels, and words of captions."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sigrl.model.word_forms import plain
from sigrl.training.data.label_lists import unique
from sigrl.training.tasks.everyday.hidden import Hidden
from sigrl.training.tasks.everyday.names import ClassNames, Mentions, inflected
from sigrl.training.tasks.everyday.photographs import Photograph
from sigrl.training.tasks.everyday.readers import FIRST_LABELS

_DOUBTFUL_FROM = 8
"""Minimum number of mentions on dense photographs to decide whether captions mean the name by the word."""
_DOUBTFUL_ERRORS = 0.35
"""If the name does not apply to more than this share of its mentions, they are not used."""


@dataclass(frozen=True, eq=False)
class Targets:
    """N photographs, K known words, V other words."""

    known_words: tuple[str, ...]
    """The names of `everyday`, then the COCO labels that match no name."""
    known: npt.NDArray[np.int8]
    """[N, K]: +1 the word applies, -1 it does not, 0 unknown; parents of words that apply are filled in.
    Hidden words are unknown."""
    doubtful: tuple[str, ...]
    """Names whose mentions in captions are not used."""
    words: tuple[str, ...]
    """Words that captions and class names may mention, without the known ones, but with hidden names that
    captions may mention."""
    mentions: tuple[tuple[int, ...], ...]
    """N tuples of indices into `words`, in order."""


def make_targets(
    photographs: Sequence[Photograph], names: ClassNames, hidden: Hidden, listed: Iterable[str]
) -> Targets:
    """Targets for photographs without hidden labels (see `Hidden.remove`).

    `listed` are the words of label lists. The dense labels of training photographs decide which mentions in
    captions are used.
    """
    own = tuple(names.tables["coco_own"])
    known = np.zeros((len(photographs), len(names.names) + len(own)), dtype=np.int8)
    for row, photograph in zip(known, photographs, strict=True):
        _fill(row, photograph, names, own)
    mentioned = _mentioned_names(photographs, names)
    doubtful = _doubtful(photographs, known, mentioned)
    for row, photograph, columns in zip(known, photographs, mentioned, strict=True):
        if not photograph.dense:
            _apply(row, (names.names[column] for column in columns if column not in doubtful), names)
    # Names implied by hidden names were filled in from other labels; the hidden names themselves must be
    # unknown.
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
    """Exact labels come first, so that no class name or caption overrides their negatives."""
    if photograph.dense:
        row[: len(names.names)] = -1
        row[[names.column[name] for name in photograph.unsure]] = 0
    for number, label in enumerate(own, start=len(names.names)):
        if label in photograph.coco_known:
            row[number] = 1 if label in photograph.coco_positive else -1
    for name in photograph.positive:
        row[names.column[name]] = 1
    means = {label: meant for label in photograph.coco_known if (meant := names.of_coco(label)) is not None}
    _apply(row, (means[label] for label in photograph.coco_positive if label in means), names)
    vague = names.tables["coco_vague"]
    for label, name in means.items():
        if label not in photograph.coco_positive and label not in vague:
            # Only hand-made labels also rule out narrower names.
            narrower = names.descendants[name] if label in FIRST_LABELS else ()
            for denied in (name, *narrower):
                if row[names.column[denied]] == 0:
                    row[names.column[denied]] = -1
    if photograph.folder is not None:
        _apply(row, names.of_folder(photograph.source, photograph.folder), names)


def _apply(row: npt.NDArray[np.int8], applying: Iterable[str], names: ClassNames) -> None:
    for name in applying:
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
    others = [name for name in names.names if name not in hidden.mentioned]
    stop = {*names.tables["stop_words"], *map(plain, others)}
    class_words = [
        [] if one.folder is None else [word for word in names.class_words(one.folder) if word not in stop]
        for one in photographs
    ]
    # A name in any spelling is left out of the lists; words of folders are the data set's own.
    candidates = [
        *map(plain, listed),
        *(word for words in class_words for word in words),
        *sorted(map(plain, hidden.mentioned)),
    ]
    words = tuple(word for word in unique(candidates) if word not in stop and hidden.allows(word))
    place = {word: number for number, word in enumerate(words)}
    forms: dict[str, str] = {}
    for word in words:
        for form in inflected(word):
            forms.setdefault(form, word)
    for plural, singular in names.tables["irregular"].items():
        if singular in place:
            forms[plural] = singular
    # Names are searched for too, so that no part of one passes for another word.
    for name in map(plain, others):
        forms[name] = name
    finder = Mentions(forms)
    mentions = []
    for photograph, own in zip(photographs, class_words, strict=True):
        found = {word for caption in photograph.captions for word in finder.find(caption)}
        found.update(word for word in own if word in place)
        mentions.append(tuple(sorted(place[word] for word in found if word in place)))
    return words, tuple(mentions)
