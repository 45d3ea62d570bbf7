"""Photographs, labels and captions in COCO's own layout."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np


class DataError(Exception):
    """The data cannot be used; the message names the file and says what to do."""


@dataclass(frozen=True)
class CocoSplit:
    """One split: N photographs, their labels and, when there are any, their captions."""

    image_paths: tuple[Path, ...]
    """N files, in the order of the annotation file."""
    label_names: tuple[str, ...]
    """C category names, in the file's order."""
    labels: np.ndarray
    """[N, C] float32, 1 where an annotation of the category exists."""
    captions: tuple[str | None, ...]
    """N texts (the first of each photograph), None where there is none."""


def load_coco(root: Path, split: str) -> CocoSplit:
    """Reads `annotations/instances_<split>.json` and, if present, `annotations/captions_<split>.json`.

    `split` is COCO's name, for instance `val2014`; photographs lie in `<root>/<split>/`. Raises DataError for
    missing or malformed files.
    """
    instances = _read(root / "annotations" / f"instances_{split}.json")
    try:
        column = {category["id"]: index for index, category in enumerate(instances["categories"])}
        row = {image["id"]: index for index, image in enumerate(instances["images"])}
        names = tuple(category["name"] for category in instances["categories"])
        paths = tuple(root / split / image["file_name"] for image in instances["images"])
        labels = np.zeros((len(row), len(column)), dtype=np.float32)
        for annotation in instances["annotations"]:
            labels[row[annotation["image_id"]], column[annotation["category_id"]]] = 1
    except (KeyError, TypeError) as error:
        raise _not_in_layout(root, f"instances_{split}.json", error) from error
    if not paths:
        raise DataError(f"instances_{split}.json lists no photographs: point `data.root` at another folder")
    missing = next((path for path in paths if not path.is_file()), None)
    if missing is not None:
        raise DataError(
            f"{missing} is listed in instances_{split}.json but is not there: complete the folder"
        )
    return CocoSplit(paths, names, labels, _captions(root, split, row))


def _captions(root: Path, split: str, row: dict[int, int]) -> tuple[str | None, ...]:
    captions: list[str | None] = [None] * len(row)
    path = root / "annotations" / f"captions_{split}.json"
    if path.is_file():
        try:
            for annotation in _read(path)["annotations"]:
                index = row.get(annotation["image_id"])
                if index is not None and captions[index] is None:
                    captions[index] = annotation["caption"].strip()
        except (KeyError, TypeError, AttributeError) as error:
            raise _not_in_layout(root, path.name, error) from error
    return tuple(captions)


def _not_in_layout(root: Path, name: str, error: Exception) -> DataError:
    lacks = f"lacks {error}" if isinstance(error, KeyError) else "holds something else"
    return DataError(f"{root / 'annotations' / name} {lacks}: it is not in COCO's layout, fetch it again")


def _read(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataError(f"{path} is not there: point `data.root` at a folder in COCO's layout") from error
    except ValueError as error:
        raise DataError(f"{path} is not JSON ({error}): fetch the file again") from error
    return content
