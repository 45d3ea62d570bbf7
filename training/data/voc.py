"""PASCAL VOC 2012, read from its image-level label files."""

from pathlib import Path

import numpy as np

from sigrl.training.data.dataset import DataError, LabelledPhotographs

CLASSES = {
    "aeroplane": "aeroplane",
    "bicycle": "bicycle",
    "bird": "bird",
    "boat": "boat",
    "bottle": "bottle",
    "bus": "bus",
    "car": "car",
    "cat": "cat",
    "chair": "chair",
    "cow": "cow",
    "diningtable": "dining table",
    "dog": "dog",
    "horse": "horse",
    "motorbike": "motorbike",
    "person": "person",
    "pottedplant": "potted plant",
    "sheep": "sheep",
    "sofa": "sofa",
    "train": "train",
    "tvmonitor": "tv monitor",
}
"""VOC's spelling, used in file names -> the words that a text tower knows; in VOC's order."""


def read_voc(root: Path, split: str) -> LabelledPhotographs:
    """Reads `ImageSets/Main/<class>_<split>.txt` of the 20 classes; `split` is `train` or `val`.

    `root` is the folder `VOC2012`, or one that contains `VOCdevkit/VOC2012` as in the archive. A label
    applies if the file says 1; 0 ("difficult") counts as -1, as in the published protocols. Photographs are
    in the order of their ids. Raises DataError for missing or malformed files.
    """
    inner = (root / "VOCdevkit" / "VOC2012", root / "VOC2012")
    folder = next((path for path in inner if path.is_dir()), root)
    files = [folder / "ImageSets" / "Main" / f"{spelling}_{split}.txt" for spelling in CLASSES]
    positives = [_read(path) for path in files]
    ids = tuple(sorted(positives[0]))
    for path, column in zip(files, positives, strict=True):
        if column.keys() != positives[0].keys():
            raise DataError(
                f"{path} and {files[0].name} list different photographs: unpack the archive again"
            )
    applies = np.array([[column[image_id] for column in positives] for image_id in ids])
    return LabelledPhotographs(
        image_paths=tuple(folder / "JPEGImages" / f"{image_id}.jpg" for image_id in ids),
        label_names=tuple(CLASSES.values()),
        labels=np.where(applies, 1, -1).astype(np.int8),
        ids=ids,
    )


def _read(path: Path) -> dict[str, bool]:
    """Image id -> whether the class applies."""
    try:
        lines = [line.split() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        column = {image_id: {"1": True, "0": False, "-1": False}[label] for image_id, label in lines}
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist: point `data.root` at the folder VOC2012") from error
    except (KeyError, ValueError) as error:
        raise DataError(
            f"{path} has lines other than an image id and -1, 0 or 1: unpack the archive again"
        ) from error
    if not column:
        raise DataError(f"{path} lists no photographs: unpack the archive again")
    return column
