"""Reads, checks and splits the photographs of `task: photographs`."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sigrl.model.labelled_files import LabelledFile, read_label_file
from sigrl.model.vocabulary import Vocabulary
from sigrl.training.data.check import DataReport, check, usable, without_empty_labels
from sigrl.training.data.class_folders import empty_folders, read_class_folders
from sigrl.training.data.coco import read_coco_files
from sigrl.training.data.dataset import DataError, LabelledPhotographs, Problem, as_data_error
from sigrl.training.data.folder import label_photographs, split_by_name
from sigrl.training.data.shards import expand_braces, read_shards
from sigrl.training.tasks.photographs.config import PhotographsConfig


@dataclass(frozen=True)
class OwnData:
    """The photographs of a run."""

    train: LabelledPhotographs
    """Every label applies to at least one of them."""
    validation: LabelledPhotographs
    """With the same labels; epochs and the threshold are chosen on them."""
    vocabulary: Vocabulary
    """The labels in the same order, with their synonyms."""
    skipped: dict[str, int]
    """Kind of problem -> number of problems."""


def load_own_data(config: PhotographsConfig) -> OwnData:
    """Reads the labels and checks every photograph before training.

    Raises DataError for the first problem, unless problems are skipped, and if nothing is left to train on or
    to compare epochs on.
    """
    skipped: Counter[str] = Counter()
    decode = config.check == "decode"
    parts = {
        name: usable(photographs, problems, decode=decode, bad_data=config.bad_data, skipped=skipped)
        for name, (photographs, problems) in _read(config).items()
    }
    train, validation = _split(config, parts)
    trained = without_empty_labels(train, config.bad_data)
    if empty := len(train.label_names) - len(trained.label_names):
        skipped["label without photographs"] = empty
    validation = validation.select_labels(trained.label_names)
    if not (validation.labels == 1).any():
        raise DataError(
            "no label applies to any validation photograph: add photographs to the validation part"
        )
    known = {label.name: label for label in config.vocabulary}
    labels = [known.get(name, name) for name in trained.label_names]
    vocabulary = Vocabulary.model_validate({"name": "own labels", "labels": labels})
    return OwnData(trained, validation, vocabulary, dict(skipped))


def check_photographs(config: PhotographsConfig) -> dict[str, DataReport]:
    """The problems with the photographs of a run. Raises DataError for files that cannot be read at all."""
    parts = _read(config)
    reports = {
        name: check(photographs, problems, decode=config.check == "decode")
        for name, (photographs, problems) in parts.items()
    }
    if config.photographs is not None and config.labels is None:
        for empty in empty_folders(config.photographs):
            reports["train"].warnings.append(f"the folder '{empty}' has no photographs, so it is no label")
    return reports


def held_out_photographs(config: PhotographsConfig) -> LabelledPhotographs:
    """The usable photographs of the validation part."""
    parts = {
        name: usable(photographs, problems, decode=False, bad_data=config.bad_data)
        for name, (photographs, problems) in _read(config).items()
    }
    return _split(config, parts)[1]


def _read(config: PhotographsConfig) -> dict[str, tuple[LabelledPhotographs, list[Problem]]]:
    """Part -> photographs, and the problems with their labels."""
    vocabulary = Vocabulary(name="vocabulary", labels=config.vocabulary) if config.vocabulary else None
    parts = {}
    source = config.shards or (None if config.labels is None else str(config.labels))
    for name, of in {"train": source, "validation": config.validation}.items():
        if name == "validation" and of is None:
            continue
        problems: list[Problem] = []
        photographs = read_source(
            config.photographs if config.shards is None else None,
            of,
            vocabulary,
            config.complete,
            problems.append,
        )
        # Both parts use the same labels.
        vocabulary = vocabulary or Vocabulary.from_names(photographs.label_names, "training labels")
        parts[name] = photographs, problems
    return parts


def read_source(
    folder: Path | None,
    source: str | None,
    vocabulary: Vocabulary | None,
    complete: bool,
    on_problem: Callable[[Problem], None],
) -> LabelledPhotographs:
    """Photographs in any form: a folder, with a label file, a COCO file or None (for its sub-folders' names)
    as `source`; or no folder, with the pattern of shards as `source`. Raises DataError as their readers
    do."""
    if folder is None:
        return read_shards(expand_braces(source or ""), vocabulary, complete, on_problem)
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder: name the folder of the photographs")
    if source is None:
        rows = read_class_folders(folder)
    elif Path(source).suffix.lower() == ".json":
        rows, names = coco_rows(Path(source), folder)
        vocabulary = vocabulary or Vocabulary.from_names(names)
    else:
        with as_data_error():
            rows = read_label_file(Path(source))
    return label_photographs(folder, rows, vocabulary, complete, on_problem)


def coco_rows(instances: Path, folder: Path) -> tuple[list[LabelledFile], tuple[str, ...]]:
    """The labels of a file in COCO's format, photograph by photograph, and the names of its categories.
    Raises DataError."""
    coco = read_coco_files(instances, folder)
    rows = [
        LabelledFile(
            path.relative_to(folder).as_posix(),
            tuple(name for name, value in zip(coco.label_names, labels, strict=True) if value == 1),
            (),
            f"{instances}, {path.name}",
        )
        for path, labels in zip(coco.image_paths, coco.labels.tolist(), strict=True)
    ]
    return rows, coco.label_names


def _split(
    config: PhotographsConfig, parts: dict[str, LabelledPhotographs]
) -> tuple[LabelledPhotographs, LabelledPhotographs]:
    if "validation" in parts:
        both = set(parts["train"].ids or ()) & set(parts["validation"].ids or ())
        if both:
            raise DataError(
                f"{min(both)} is in both the training and the validation part ({len(both)} photographs are): "
                "remove these from one of them"
            )
        return parts["train"], parts["validation"]
    # Not by the run's seed, so that runs with different seeds are compared on the same photographs.
    return split_by_name(parts["train"], config.validation_share, seed=0)
