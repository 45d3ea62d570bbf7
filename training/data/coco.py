"""Reads photographs, labels and captions in COCO's layout."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sigrl.training.data.dataset import DataError, LabelledPhotographs


@dataclass(frozen=True)
class CocoSplit:
    """One split from `load_coco`: every label is known and every file exists."""

    image_paths: tuple[Path, ...]
    """N files, in the order of the annotation file."""
    label_names: tuple[str, ...]
    """C category names, in the file's order."""
    labels: np.ndarray
    """[N, C] float32, 1 where an annotation of the category exists."""
    captions: tuple[str | None, ...]
    """N texts, the first caption of each photograph, or None for a photograph without a caption."""


def load_coco(root: Path, split: str) -> CocoSplit:
    """`read_coco` for tasks with targets 0 and 1 that need every photograph.

    Also raises DataError for a photograph that is listed but does not exist.
    """
    photographs = read_coco(root, split)
    missing = next((path for path in photographs.image_paths if not path.is_file()), None)
    if missing is not None:
        raise DataError(
            f"{missing} is listed in instances_{split}.json but is not there: complete the folder"
        )
    targets = (photographs.labels == 1).astype(np.float32)
    captions = photographs.captions or (None,) * len(photographs)
    return CocoSplit(photographs.image_paths, photographs.label_names, targets, captions)


def read_coco(root: Path, split: str) -> LabelledPhotographs:
    """Reads `annotations/instances_<split>.json` and, if present, `annotations/captions_<split>.json`.

    `split` is COCO's name, for instance `val2014`; photographs are in `<root>/<split>/`. Raises DataError for
    missing or malformed files.
    """
    annotations = root / "annotations"
    captions = annotations / f"captions_{split}.json"
    return read_coco_files(
        annotations / f"instances_{split}.json", root / split, captions if captions.is_file() else None
    )


def read_coco_files(instances: Path, photographs: Path, captions: Path | None = None) -> LabelledPhotographs:
    """Reads an annotation file, with or without boxes, and a caption file, both in COCO's format.

    A label applies to a photograph that has an annotation of its category, and does not apply to the others.
    Photographs and categories stay in the file's order; ids are those of the file, as strings; only the
    first caption is used. `photographs` is the folder that `file_name` is relative to; an absolute
    `file_name` must be inside it. Raises DataError for missing or malformed files.
    """
    content = _read(instances)
    try:
        column = {category["id"]: index for index, category in enumerate(content["categories"])}
        row = {image["id"]: index for index, image in enumerate(content["images"])}
        names = tuple(category["name"] for category in content["categories"])
        paths = tuple(_photograph(photographs, image["file_name"], instances) for image in content["images"])
        labels = np.full((len(paths), len(names)), -1, dtype=np.int8)
        for annotation in content["annotations"]:
            labels[row[annotation["image_id"]], column[annotation["category_id"]]] = 1
    except (KeyError, TypeError) as error:
        raise _not_in_layout(instances, error) from error
    if not paths:
        raise DataError(f"{instances} lists no photographs: point `data.root` at another folder")
    if len(row) < len(paths) or len(set(names)) < len(names):
        raise DataError(
            f"{instances} has two photographs with one id, or two categories with one name: correct it"
        )
    ids = tuple(str(image_id) for image_id in row)
    return LabelledPhotographs(
        paths, names, labels, ids, None if captions is None else _captions(captions, row)
    )


def _photograph(folder: Path, file_name: str, instances: Path) -> Path:
    """The path below `folder`. Raises DataError for an absolute `file_name` outside it, which comes from
    another machine or belongs to another folder."""
    if not os.path.isabs(file_name):
        return folder / file_name
    try:
        return folder / Path(file_name).relative_to(folder.absolute())
    except ValueError as error:
        raise DataError(
            f"{instances} has the absolute `file_name` {file_name}, which is not in {folder}: name the "
            "folder it is in, or write each `file_name` relative to the folder of photographs"
        ) from error


def category_names(instances: Path) -> dict[int, str]:
    """Category id -> category name, from an annotation file in COCO's format. Raises DataError."""
    try:
        return {category["id"]: category["name"] for category in _read(instances)["categories"]}
    except (KeyError, TypeError) as error:
        raise _not_in_layout(instances, error) from error


def _captions(path: Path, row: dict[int, int]) -> tuple[str | None, ...]:
    captions: list[str | None] = [None] * len(row)
    try:
        for annotation in _read(path)["annotations"]:
            index = row.get(annotation["image_id"])
            if index is not None and captions[index] is None:
                captions[index] = annotation["caption"].strip()
    except (KeyError, TypeError, AttributeError) as error:
        raise _not_in_layout(path, error) from error
    return tuple(captions)


def _not_in_layout(path: Path, error: Exception) -> DataError:
    lacks = f"lacks {error}" if isinstance(error, KeyError) else "has a field of another type"
    return DataError(f"{path} {lacks}: it is not in COCO's layout, fetch it again")


def _read(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataError(f"{path} is not there: point `data.root` at a folder in COCO's layout") from error
    except ValueError as error:
        raise DataError(f"{path} is not JSON ({error}): fetch the file again") from error
    return content
