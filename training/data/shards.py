"""WebDataset shards: tar files in which a photograph and its labels are members with the same key.

    beach/1.jpg   beach/1.json   {"positive": ["dog", "wet sand"], "negative": ["cat"]}
    beach/2.jpg   beach/2.txt    dog;wet sand
    beach/3.jpg   beach/3.cls    dog, or the label's number in the vocabulary, counted from 0

Photographs are addressed as paths through the tar, `shard-000.tar/beach/1.jpg`, so whatever works on a folder
also works on shards. Members of other kinds, such as pickles, are never read.
"""

import itertools
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from sigrl.model.labelled_files import LabelledFile, listed_labels
from sigrl.model.photograph_files import SUFFIXES
from sigrl.model.vocabulary import Vocabulary
from sigrl.training.data.dataset import DataError, LabelledPhotographs, Problem, as_data_error, stop
from sigrl.training.data.folder import label_photographs
from sigrl.training.data.tar_index import Member, tar_index
from sigrl.training.terminal import progress_bar

_LABELS = (".json", ".txt", ".cls")


def expand_braces(pattern: str) -> tuple[Path, ...]:
    """`train-{000..012}.tar` -> thirteen paths; `{a,b}.tar` -> two; several braces: all combinations.

    Raises DataError for a range that counts backwards.
    """
    parts = re.split(r"\{([^{}]*)\}", pattern)
    choices = [[part] if place % 2 == 0 else _choices(part, pattern) for place, part in enumerate(parts)]
    return tuple(Path("".join(chosen)) for chosen in itertools.product(*choices))


def read_shards(
    shards: Sequence[Path],
    vocabulary: Vocabulary | None = None,
    complete: bool = False,
    on_problem: Callable[[Problem], None] = stop,
) -> LabelledPhotographs:
    """The photographs of all shards, in order, with the labels of `vocabulary`.

    See `label_photographs`; ids are `shard-000.tar/key.jpg`. A photograph without labels is a problem (see
    `stop`). Raises DataError for a shard that is missing, damaged or compressed, and for malformed labels.
    """
    folders = {shard.parent for shard in shards}
    if len({shard.name for shard in shards}) < len(shards):
        raise DataError(f"two shards are called {shards[0].name}: give each shard its own name")
    if len(folders) > 1:
        raise DataError(f"the shards lie in {len(folders)} folders: put them into one folder")
    rows: list[LabelledFile] = []
    with progress_bar() as progress:
        bar = progress.add_task("read shards", total=len(shards), note="")
        for shard in shards:
            rows.extend(_rows(shard, vocabulary, on_problem))
            progress.update(bar, advance=1)
    if not rows:
        raise DataError(
            f"{shards[0]} and the other shards have no photograph with labels: write key.jpg and key.json"
        )
    return label_photographs(folders.pop(), rows, vocabulary, complete, on_problem)


def _choices(inside: str, pattern: str) -> list[str]:
    numbers = re.fullmatch(r"(\d+)\.\.(\d+)", inside)
    if numbers is None:
        return inside.split(",")
    first, last = (int(number) for number in numbers.groups())
    if last < first:
        raise DataError(f"{{{inside}}} in {pattern} counts backwards: write the smaller number first")
    return [str(number).zfill(len(numbers[1])) for number in range(first, last + 1)]


def _rows(
    shard: Path, vocabulary: Vocabulary | None, on_problem: Callable[[Problem], None]
) -> list[LabelledFile]:
    photographs: dict[str, str] = {}
    labels: dict[str, tuple[str, Member]] = {}
    for name, member in tar_index(shard).items():
        # WebDataset's key is the name up to the first dot of its last part.
        path = PurePosixPath(name)
        base, dot, _ = path.name.partition(".")
        key, suffix = str(path.parent / base), path.suffix.lower()
        if dot and suffix in SUFFIXES:
            if key in photographs:
                raise DataError(f"{shard} has two photographs with the key {key}: give each its own key")
            photographs[key] = name
        elif dot and suffix in _LABELS and (key not in labels or _rank(suffix) < _rank(labels[key][0])):
            labels[key] = (suffix, member)
    rows = []
    for key, photograph in photographs.items():
        if key not in labels:
            where = f"{shard}/{photograph}"
            message = f"{where} has no {key}.json: add it, or set `bad_data: skip`"
            on_problem(Problem("missing labels", where, message))
            continue
        suffix, member = labels[key]
        where = f"{shard}/{key}{suffix}"
        positive, negative = _parse_labels(member.read(), suffix, where, vocabulary)
        rows.append(LabelledFile(f"{shard.name}/{photograph}", positive, negative, where))
    return rows


def _rank(suffix: str) -> int:
    return _LABELS.index(suffix)


def _parse_labels(
    content: bytes, suffix: str, where: str, vocabulary: Vocabulary | None
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    try:
        text = content.decode("utf-8-sig").strip()
        parsed: Any = json.loads(text) if suffix == ".json" else {}
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where} is not a UTF-8 {suffix[1:]} file ({error}): write it again") from error
    if suffix == ".json":
        if not isinstance(parsed, dict) or not {"positive", "negative"}.intersection(parsed):
            raise DataError(f'{where} has no labels: write {{"positive": ["dog"], "negative": ["cat"]}}')
        with as_data_error():
            positive, negative = listed_labels(parsed, where)
        return tuple(positive), tuple(negative)
    if suffix == ".cls" and text.isdecimal():
        if vocabulary is None or int(text) >= len(vocabulary.labels):
            raise DataError(
                f"{where} contains the number {text}: list the labels as `vocabulary`, in that order"
            )
        return (vocabulary.names[int(text)],), ()
    return tuple(name.strip() for name in text.split(";") if name.strip()), ()
