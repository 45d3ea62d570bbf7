"""NUS-WIDE for open-vocabulary training, in the layout in which BiAM and MKT publish its labels."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from sigrl.training.data.dataset import DataError, LabelledPhotographs, Problem, read_lines, stop
from sigrl.training.data.plain_pickle import read_pickled_names

_NAMES = {"train": "img_names", "test": "test_img_names"}


def read_nuswide(
    root: Path,
    split: Literal["train", "test"],
    label_set: Literal["seen", "unseen", "all"],
    on_problem: Callable[[Problem], None] = stop,
) -> LabelledPhotographs:
    """The photographs of a split with the labels of `Concepts925.txt`, `Concepts81.txt`, or both in that
    order.

    It reads `img_names.pkl` or `test_img_names.pkl` (or a text file `img_names.txt` in its place) and
    `features/nus_wide_<split>.h5`, whose datasets are `<name>-labels` (seen labels; all labels in the test
    split) and `<name>-labels_81`. All photographs are returned, in the order of the names; training leaves
    out those without a seen label with `with_positives`.

    A photograph without its datasets is a problem (see `stop`). Raises DataError for missing or malformed
    files.
    """
    seen, unseen = _concepts(root / "Concepts925.txt"), _concepts(root / "Concepts81.txt")
    columns = {"seen": seen, "unseen": unseen, "all": (*seen, *unseen)}[label_set]
    names = _image_names(root, split)
    path = root / "features" / f"nus_wide_{split}.h5"
    rows: list[npt.NDArray[np.int8]] = []
    kept: list[str] = []
    with _open(path) as file:
        for name in names:
            try:
                labels = _labels(file, name, len(seen), len(unseen), label_set)
            except KeyError as error:
                on_problem(_missing(path, name, error))
            else:
                rows.append(labels)
                kept.append(name)
    return LabelledPhotographs(
        image_paths=tuple(_image_path(root, name) for name in kept),
        label_names=columns,
        labels=np.array(rows, dtype=np.int8).reshape(len(rows), len(columns)),
        ids=tuple(kept),
    )


def _concepts(path: Path) -> tuple[str, ...]:
    names = tuple(_lines(path))
    if not names or len(set(names)) < len(names):
        raise DataError(f"{path} is empty or names a concept twice: download the file again")
    return names


def _image_names(root: Path, split: str) -> list[str]:
    text = root / f"{_NAMES[split]}.txt"
    return _lines(text) if text.is_file() else read_pickled_names(text.with_suffix(".pkl"), "img_names")


def _lines(path: Path) -> list[str]:
    try:
        return read_lines(path)
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist: copy it from the files that MKT publishes") from error


def _image_path(root: Path, name: str) -> Path:
    """The path of `actor_0001_2124494179.jpg` is `Flickr/actor/0001_2124494179.jpg`."""
    # Files made with BiAM's own script contain the whole path, with underscores for its slashes.
    folder, *rest = name.rpartition("Flickr_")[2].rsplit("_", 2)
    if len(rest) != 2:
        raise DataError(
            f"{name!r} is not a NUS-WIDE name, <folder>_<number>_<id>.jpg: download the names again"
        )
    return root / "Flickr" / folder / "_".join(rest)


def _open(path: Path) -> Any:
    try:
        import h5py
    except ImportError as error:
        raise DataError("NUS-WIDE's labels need h5py: pip install 'sigrl-tagger[nuswide]'") from error
    try:
        return h5py.File(path, "r")
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist: download it from where BiAM publishes it") from error
    except OSError as error:
        raise DataError(f"{path} is not an HDF5 file, or is damaged ({error}): download it again") from error


def _labels(file: Any, name: str, seen: int, unseen: int, label_set: str) -> npt.NDArray[np.int8]:
    """The labels [C] of one photograph. Raises KeyError with the name of a missing dataset."""
    if label_set == "unseen":
        return _row(file, f"{name}-labels_81", unseen)
    labels = _row(file, f"{name}-labels", seen, seen + unseen)
    if label_set == "seen":
        return labels[:seen]
    if len(labels) == seen:
        return np.concatenate([labels, _row(file, f"{name}-labels_81", unseen)])
    return labels


def _row(file: Any, key: str, *widths: int) -> npt.NDArray[np.int8]:
    if key not in file:
        raise KeyError(key)
    values = np.asarray(file[key])
    if values.shape not in [(width,) for width in widths]:
        expected = " or ".join(map(str, widths))
        raise DataError(
            f"{file.filename} has {values.shape} values in `{key}`, not {expected}: use labels and lists of "
            "concepts from the same release"
        )
    if not np.isin(values, (-1, 0, 1)).all():
        raise DataError(f"{file.filename} has values other than -1, 0 and 1 in `{key}`: download it again")
    return values.astype(np.int8)


def _missing(path: Path, name: str, error: KeyError) -> Problem:
    what_to_do = "download the file again, or set `bad_data: skip`"
    return Problem("missing labels", name, f"{path} lacks the dataset `{error.args[0]}`: {what_to_do}")
