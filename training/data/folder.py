"""Reads a user's own data: a folder of photographs and a file of labels, some of which may be unknown."""

import hashlib
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from sigrl.model.labelled_files import LabelledFile, read_label_file
from sigrl.model.photograph_files import ListedPhotographs
from sigrl.model.vocabulary import Vocabulary
from sigrl.training.data.dataset import DataError, LabelledPhotographs, Problem, as_data_error, stop


def read_folder(
    folder: Path,
    label_file: Path,
    vocabulary: Vocabulary | None = None,
    complete: bool = False,
    on_problem: Callable[[Problem], None] = stop,
) -> LabelledPhotographs:
    """The photographs that `label_file` names, in its order, with the labels of `vocabulary`.

    See `read_label_file` for the formats of the file and `label_photographs` for everything else. Raises
    DataError for a malformed file.
    """
    with as_data_error():
        rows = read_label_file(label_file)
    return label_photographs(folder, rows, vocabulary, complete, on_problem)


def label_photographs(
    folder: Path,
    rows: Sequence[LabelledFile],
    vocabulary: Vocabulary | None = None,
    complete: bool = False,
    on_problem: Callable[[Problem], None] = stop,
) -> LabelledPhotographs:
    """The photographs that `rows` name, in that order, with the labels of `vocabulary`.

    A row may give a label by its name or a synonym, in any case. Without a vocabulary the labels are those of
    the rows, sorted. A label that no row gives for a photograph is unknown there, or negative if the labels
    are `complete`. Ids are the file names as the rows spell them, relative to `folder`; `ListedPhotographs`
    describes how a file with a different spelling is found.

    A label outside the vocabulary is a problem (see `stop`), and so is a label that both applies and does not
    apply to a photograph; it counts as unknown there. Raises DataError if two labels of the vocabulary share
    a word.
    """
    if vocabulary is None:
        vocabulary = vocabulary_of(rows)
    column = _columns(vocabulary)
    listed = ListedPhotographs(folder)
    paths = {image: listed.find(image) for image in dict.fromkeys(row.image for row in rows)}
    # Two spellings of one file are one photograph; the first spelling is its id.
    places: dict[Path, int] = {}
    index = {image: places.setdefault(path, len(places)) for image, path in paths.items()}
    first = {path: image for image, path in reversed(paths.items())}
    labels = np.zeros((len(places), len(vocabulary.labels)), dtype=np.int8)
    contradicted: set[tuple[int, int]] = set()
    for row in rows:
        for value, names in ((1, row.positive), (-1, row.negative)):
            for name in names:
                place = column.get(_folded(name))
                if place is None:
                    on_problem(_outside(row, name, vocabulary))
                elif labels[index[row.image], place] == -value:
                    on_problem(_contradiction(row, name))
                    contradicted.add((index[row.image], place))
                else:
                    labels[index[row.image], place] = value
    if complete:
        labels[labels == 0] = -1
    for entry in contradicted:
        labels[entry] = 0
    return LabelledPhotographs(
        image_paths=tuple(places),
        label_names=vocabulary.names,
        labels=labels,
        ids=tuple(first[path] for path in places),
    )


def split_by_name(
    photographs: LabelledPhotographs, validation_share: float, seed: int
) -> tuple[LabelledPhotographs, LabelledPhotographs]:
    """Returns (training, validation). A photograph's side depends on its id and the seed alone.

    Adding or removing photographs therefore moves no others to the other side. The shares are met on average.
    Raises DataError if one side is empty, and ValueError for photographs without ids.
    """
    if photographs.ids is None:
        raise ValueError("the split is made by ids, which these photographs do not have")
    positions = np.array([_position(image_id, seed) for image_id in photographs.ids])
    validation = positions < validation_share
    if validation.all() or not validation.any():
        raise DataError(
            f"a validation share of {validation_share:g} leaves one side empty with {len(photographs)} "
            "photographs: choose another share or seed, or add photographs"
        )
    return photographs.select(~validation), photographs.select(validation)


def _position(image_id: str, seed: int) -> float:
    digest = hashlib.sha256(f"{seed}:{image_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def _folded(name: str) -> str:
    return " ".join(unicodedata.normalize("NFC", name).split()).casefold()


def vocabulary_of(rows: Sequence[LabelledFile]) -> Vocabulary:
    """The labels in `rows`, sorted, each in its first spelling. Raises DataError if there are none."""
    spellings: dict[str, str] = {}
    for row in rows:
        for name in (*row.positive, *row.negative):
            spellings.setdefault(_folded(name), name)
    if not spellings:
        raise DataError(f"{rows[0].where} and all other lines name no label: write some into `positive`")
    return Vocabulary.from_names([spellings[folded] for folded in sorted(spellings)])


def _columns(vocabulary: Vocabulary) -> dict[str, int]:
    column: dict[str, int] = {}
    for place, label in enumerate(vocabulary.labels):
        for name in (label.name, *label.synonyms):
            if column.setdefault(_folded(name), place) != place:
                raise DataError(
                    f"the vocabulary has '{name}' for both '{vocabulary.names[column[_folded(name)]]}' and "
                    f"'{label.name}': remove it from one of them"
                )
    return column


def _contradiction(row: LabelledFile, name: str) -> Problem:
    message = (
        f"{row.where}: '{name}' is both positive and negative for {row.image}: remove one, or let "
        "contradictory labels be skipped"
    )
    return Problem("contradictory labels", row.image, message)


def _outside(row: LabelledFile, name: str, vocabulary: Vocabulary) -> Problem:
    what_to_do = "add it, make it a synonym of a label, or let labels outside the vocabulary be skipped"
    message = f"{row.where}: '{name}' is not a label of the vocabulary '{vocabulary.name}': {what_to_do}"
    return Problem("label outside the vocabulary", name, message)
