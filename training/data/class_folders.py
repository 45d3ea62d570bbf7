"""One folder for each label, as image classifiers are trained on: `photographs/dog/1.jpg`."""

from pathlib import Path

from sigrl.model.labelled_files import LabelledFile
from sigrl.training.data.dataset import DataError
from sigrl.training.data.opening import SUFFIXES


def read_class_folders(folder: Path) -> list[LabelledFile]:
    """Every photograph below `folder`, its label the name of the sub-folder, underscores read as spaces.

    What else lies there, and names that begin with a dot, is passed over. Raises DataError where there is
    nothing, and for a photograph that lies in no sub-folder.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} is no folder: name the one that holds the photographs")
    rows = []
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        if path.suffix.lower() not in SUFFIXES or any(part.startswith(".") for part in inside.parts):
            continue
        if len(inside.parts) == 1:
            raise DataError(
                f"{path} lies in no sub-folder that says its label: name the file that holds the labels, or "
                "make one folder for each label"
            )
        label = " ".join(inside.parts[0].replace("_", " ").split())
        rows.append(LabelledFile(inside.as_posix(), (label,), (), str(path)))
    if not rows:
        raise DataError(f"{folder} has no sub-folders with photographs: name the file that holds the labels")
    return rows
