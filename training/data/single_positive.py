"""One positive label per photograph: splits and draws exactly as published (Cole et al. 2021)."""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sigrl.training.data.coco import category_names
from sigrl.training.data.dataset import DataError, LabelledPhotographs

SEED = 1200
"""Seed of the split and of the draw in every published table."""
VALIDATION_SHARE = 0.2

Rows = npt.NDArray[np.intp]


@dataclass(frozen=True)
class SinglePositive:
    """The training split in two parts; the official validation split is the test set and not handled here."""

    train: LabelledPhotographs
    """Observed labels: +1 for one positive per photograph, 0 for everything else."""
    complete_train: LabelledPhotographs
    """The same photographs with all their labels, for an upper bound and to count what training recovers."""
    validation: LabelledPhotographs
    """All labels; epochs and settings are chosen on this part."""


def split_single_positive(photographs: LabelledPhotographs) -> SinglePositive:
    """Draws the positives over the whole official training split and then splits it, as published.

    The photographs can be in any order; ids are required, and photographs without a positive label are left
    out.
    """
    ordered = in_published_order(photographs)
    observed = replace(ordered, labels=observe_one_positive(ordered.labels))
    return _split(ordered, observed)


def split_published_draw(photographs: LabelledPhotographs, draw: Path, instances: Path) -> SinglePositive:
    """The same with the positives of a file, `{"image id": category id}`, instead of our draw.

    `instances` is the annotation file in COCO's format that maps category ids to labels. Raises DataError if
    a file is malformed or lacks a photograph.
    """
    ordered = in_published_order(photographs)
    return _split(ordered, replace(ordered, labels=_read_draw(draw, instances, ordered)))


def in_published_order(photographs: LabelledPhotographs) -> LabelledPhotographs:
    """The photographs with a positive label, sorted by their ids as strings."""
    labelled = photographs.with_positives()
    ids = _ids(labelled)
    return labelled.select(np.array(sorted(range(len(ids)), key=ids.__getitem__), dtype=np.intp))


def split_rows(count: int, validation_share: float = VALIDATION_SHARE, seed: int = SEED) -> tuple[Rows, Rows]:
    """(training rows, validation rows) of `count` photographs, each in ascending order."""
    validation = int(np.round(validation_share * count))
    order = np.random.RandomState(seed).permutation(count)
    return np.sort(order[: count - validation]), np.sort(order[count - validation :])


def observe_one_positive(labels: npt.NDArray[np.int8], seed: int = SEED) -> npt.NDArray[np.int8]:
    """Keeps one random positive in each row of `labels` [N, C] (+1 or not); everything else becomes 0."""
    random = np.random.RandomState(seed)
    observed = np.zeros_like(labels)
    for row, target in zip(labels, observed, strict=True):
        positives = np.flatnonzero(row == 1)
        random.shuffle(positives)
        target[positives[:1]] = 1
        # The published draw also shuffles the negatives and keeps none; without this, later rows would
        # differ.
        random.shuffle(np.flatnonzero(row != 1))
    return observed


def _split(ordered: LabelledPhotographs, observed: LabelledPhotographs) -> SinglePositive:
    train, validation = split_rows(len(ordered))
    return SinglePositive(observed.select(train), ordered.select(train), ordered.select(validation))


def _read_draw(draw: Path, instances: Path, photographs: LabelledPhotographs) -> npt.NDArray[np.int8]:
    labels = np.zeros_like(photographs.labels)
    names = category_names(instances)
    column = {name: index for index, name in enumerate(photographs.label_names)}
    try:
        category = json.loads(draw.read_text(encoding="utf-8"))
        for row, image_id in enumerate(_ids(photographs)):
            labels[row, column[names[category[image_id]]]] = 1
    except FileNotFoundError as error:
        raise DataError(f"{draw} does not exist: name the file with one category per image") from error
    except KeyError as error:
        raise DataError(
            f"{draw} lacks a category of {instances.name} for a photograph ({error} is missing): use the "
            "draw that was made for these annotations"
        ) from error
    except (ValueError, TypeError) as error:
        raise DataError(
            f'{draw} is not a JSON object {{"image id": category id}}: download it again'
        ) from error
    return labels


def _ids(photographs: LabelledPhotographs) -> tuple[str, ...]:
    if photographs.ids is None:
        raise ValueError("the protocol orders photographs by their ids, and these have none")
    return photographs.ids
