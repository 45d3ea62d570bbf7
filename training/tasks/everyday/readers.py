"""One reader for each data set, from the folder of its repository to photographs.

All raise DataError if the folder is missing or has nothing in the expected layout.
"""

import csv
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from sigrl.training.data.coco import read_coco
from sigrl.training.data.dataset import DataError
from sigrl.training.tasks.everyday.config import SourceName
from sigrl.training.tasks.everyday.photographs import Photograph, Role, require_photographs

COCO_COURSE = "Mike0429/COMP5329DeepLearningA2_ViT"
_COURSE_LABELS = {
    1: "person",
    2: "bicycle",
    3: "car",
    4: "motorcycle",
    5: "airplane",
    6: "bus",
    7: "train",
    8: "truck",
    9: "boat",
    10: "traffic light",
    11: "fire hydrant",
    13: "stop sign",
    14: "parking meter",
    15: "bench",
    16: "bird",
    17: "cat",
    18: "dog",
    19: "horse",
}
"""COCO's own ids of its first 18 categories; there is no 12."""
FIRST_LABELS = frozenset(_COURSE_LABELS.values())
"""The COCO labels that the annotators' own files give for every photograph here; the others were recovered by
a model, which misses some."""
_NO_CLASS = frozenset({"Not sure", "Other", "Skip", "BACKGROUND_Google", "."})
"""Folders and labels that do not describe the photograph."""


def read_coco_subset(folder: Path) -> list[Photograph]:
    """COCO's layout: `train2014` to train on, `val2014` to measure on, with 80 known labels on both."""
    photographs = []
    roles: dict[str, Role] = {"train2014": "train", "val2014": "test"}
    for split, role in roles.items():
        coco = read_coco(folder, split)
        known = frozenset(coco.label_names)
        captions = coco.captions or (None,) * len(coco)
        for path, labels, caption in zip(coco.image_paths, coco.labels, captions, strict=True):
            photographs.append(
                Photograph(
                    path,
                    "coco",
                    COCO_COURSE,
                    f"coco-subset/{split}/{path.name}",
                    role,
                    coco_positive=frozenset(coco.label_names[place] for place in (labels == 1).nonzero()[0]),
                    coco_known=known,
                    captions=() if caption is None else (caption,),
                )
            )
    return require_photographs(photographs, folder, "COCO's layout")


def read_coco_course(folder: Path) -> list[Photograph]:
    """More COCO photographs with one caption each; those in `train.csv` have 18 labels."""
    labels: dict[str, frozenset[str]] = {}
    captions: dict[str, str] = {}
    for name in ("train.csv", "test.csv"):
        for row in _rows(folder / name, ("ImageID", "Caption"), escape="\\"):
            captions[row["ImageID"]] = row["Caption"].strip()
            if row.get("Labels"):
                labels[row["ImageID"]] = _course_labels(folder / name, row["Labels"])
    photographs = [
        Photograph(
            path,
            "coco_course",
            COCO_COURSE,
            f"data/{path.name}",
            coco_positive=labels.get(path.name, frozenset()),
            coco_known=FIRST_LABELS if path.name in labels else frozenset(),
            captions=(captions[path.name],) if captions.get(path.name) else (),
        )
        for path in sorted((folder / "data").glob("*.jpg"))
    ]
    return require_photographs(photographs, folder, "data/*.jpg")


def read_flickr8k(folder: Path) -> list[Photograph]:
    """Photographs without captions, which are in another repository: see `read_flickr8k_captions`."""
    return _listed("flickr8k", folder, "data/images")


def read_flickr8k_captions(file: Path) -> dict[str, tuple[str, ...]]:
    """File name of a photograph -> its captions, from a file with the header `image,caption`."""
    captions: dict[str, list[str]] = {}
    for row in _rows(file, ("image", "caption")):
        captions.setdefault(row["image"], []).append(row["caption"].strip())
    return {name: tuple(texts) for name, texts in captions.items()}


def read_houses(folder: Path) -> list[Photograph]:
    """Photographs named `<number>_<room>.jpg`; `frontal` is the house seen from the street."""
    photographs = _listed("houses", folder, "Houses Dataset")
    return [replace(one, folder=one.path.stem.partition("_")[2]) for one in photographs]


def read_clothing(folder: Path) -> list[Photograph]:
    """One piece of clothing per photograph; `images.csv` names its kind."""
    kinds = {row["image"]: row["label"] for row in _rows(folder / "images.csv", ("image", "label"))}
    photographs = [
        replace(one, folder=kinds[one.path.stem])
        for one in _listed("clothing", folder, "images")
        if kinds.get(one.path.stem, "Skip") not in _NO_CLASS
    ]
    return require_photographs(photographs, folder, "images.csv")


def _class_folders(name: SourceName, *roots: str) -> Callable[[Path], list[Photograph]]:
    def read(folder: Path) -> list[Photograph]:
        photographs = []
        for root in roots:
            for one in _listed(name, folder, root, "**/*.jpg"):
                label = one.path.parent.relative_to(folder / root).as_posix()
                if label not in _NO_CLASS:
                    photographs.append(replace(one, folder=label))
        return photographs

    return read


def _listed(name: SourceName, folder: Path, root: str, pattern: str = "*.jpg") -> list[Photograph]:
    return require_photographs(
        [
            Photograph(path, name, REPOSITORIES[name], path.relative_to(folder).as_posix())
            for path in sorted((folder / root).glob(pattern))
        ],
        folder,
        f"{root}/{pattern}",
    )


def _rows(path: Path, columns: Iterable[str], escape: str | None = None) -> list[dict[str, str]]:
    try:
        # Some captions have stray bytes, but the words around them are intact.
        with path.open(encoding="utf-8", errors="ignore", newline="") as file:
            rows = list(csv.DictReader(file, escapechar=escape))
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist: download the data set again") from error
    if not rows or any(rows[0].get(column) is None for column in columns):
        raise DataError(f"{path} has no rows with {' and '.join(columns)}: download the data set again")
    return rows


def _course_labels(path: Path, numbers: str) -> frozenset[str]:
    try:
        return frozenset(_COURSE_LABELS[int(number)] for number in numbers.split())
    except (KeyError, ValueError) as error:
        raise DataError(
            f"{path} has the labels {numbers!r}, which are not COCO ids: download it again"
        ) from error


REPOSITORIES: Mapping[SourceName, str] = {
    "coco_course": COCO_COURSE,
    "flickr8k": "RlNZLER/Image-Text-Matching",
    "scenes": "balcilar/Deep-Scene-Classification",
    "houses": "emanhamed/Houses-dataset",
    "nyu_rooms": "markshih91/refinenet_pytorch",
    "caltech101": "MachineLearning2020/Homework2-Caltech101",
    "grocery": "marcusklasson/GroceryStoreDataset",
    "clothing": "alexeygrigorev/clothing-dataset",
    "food": "srohit0/food_mnist",
    "places": "rathull/CTFs",
}

READERS: Mapping[SourceName, Callable[[Path], list[Photograph]]] = {
    "coco_course": read_coco_course,
    "flickr8k": read_flickr8k,
    "scenes": _class_folders("scenes", "data/train"),
    "houses": read_houses,
    "nyu_rooms": lambda folder: _listed("nyu_rooms", folder, "data/nyu_images"),
    "caltech101": _class_folders("caltech101", "101_ObjectCategories"),
    "grocery": _class_folders("grocery", "dataset/train", "dataset/val", "dataset/test"),
    "clothing": read_clothing,
    "food": _class_folders("food", "images"),
    "places": _class_folders("places", "data/images/train"),
}
