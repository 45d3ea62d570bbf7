"""Collects the photographs of a run from all data sets, without those that `everyday` contains too."""

import json
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from sigrl.training.data.coco import category_names
from sigrl.training.data.dataset import DataError
from sigrl.training.tasks.everyday.config import EverydayConfig, SourceName
from sigrl.training.tasks.everyday.drawn import DRAWN, drawn_pictures
from sigrl.training.tasks.everyday.photographs import Photograph, require_photographs
from sigrl.training.tasks.everyday.published_labels import read_published_labels, with_published_labels
from sigrl.training.tasks.everyday.readers import (
    FIRST_LABELS,
    READERS,
    read_coco_subset,
    read_flickr8k_captions,
)

_PER_CLASS: Mapping[SourceName, int] = {
    "caltech101": 60,
    "grocery": 30,
    "clothing": 120,
    "food": 150,
    "places": 60,
}
"""Number of photographs to take from each class; a class soon adds nothing new."""
_CAPTIONS = {"RlNZLER/Image-Text-Matching": "quantumnaan/sic_translator"}
"""Repository of photographs -> the repository of their captions, if it is another."""
_LABELS = "PengtaoJiang/L2G"
"""The repository of the labels of COCO's categories after the first 18."""
_SOUGHT = ("Y", "Z", "M", "R")
"""Prefixes of the ids of `everyday` photographs that were searched for because a model saw something rare in
them."""
_ORIGINS = Path(__file__).with_name("origins.yaml")


def read_names(everyday: Path) -> tuple[str, ...]:
    """The labelled names, in order. Raises DataError."""
    path = everyday / "names.txt"
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist: point `everyday` at the folder that contains it") from error
    names = tuple(filter(None, lines))
    if not names:
        raise DataError(f"{path} has no names: download the data set again")
    return names


def read_everyday(folder: Path) -> list[Photograph]:
    """The densely labelled photographs. Raises DataError."""
    path = folder / "labels.jsonl"
    photographs = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist: point `everyday` at the folder that contains it") from error
    for number, line in enumerate(lines, start=1):
        try:
            entry = json.loads(line)
            photographs.append(
                Photograph(
                    folder / "photographs" / f"{entry['id']}.jpg",
                    "everyday",
                    entry["source"],
                    entry["path"],
                    entry["split"],
                    dense=True,
                    sought=entry["id"].startswith(_SOUGHT),
                    positive=frozenset(entry["labels"]),
                    unsure=frozenset(entry["unsure"]),
                )
            )
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{path}, line {number} is not a photograph ({error}): download it again"
            ) from error
    return require_photographs(photographs, folder, "labels.jsonl")


def read_sources(config: EverydayConfig) -> list[Photograph]:
    """The photographs of `everyday`, then COCO's, then those of the sources in the order of the
    configuration, then the drawn pictures.

    A photograph of `everyday` that is also in another source is left out there, and takes over its captions.
    Photographs are drawn from large classes. Raises DataError.
    """
    everyday = read_everyday(config.everyday)
    place = {(one.repository, one.place): number for number, one in enumerate(everyday)}
    coco = read_coco_subset(config.coco)
    others = list(coco)
    for name, folder in config.sources.items():
        photographs = READERS[name](folder)
        if name == "coco_course" and config.coco_labels is not None:
            categories = category_names(config.coco / "annotations" / "instances_train2014.json")
            names_by_id = [label for _, label in sorted(categories.items())]
            published = read_published_labels(config.coco_labels, names_by_id)
            photographs = with_published_labels(photographs, coco, published, names_by_id)
        if name == "flickr8k" and config.flickr8k_captions is not None:
            captions = read_flickr8k_captions(config.flickr8k_captions)
            photographs = [replace(one, captions=captions.get(one.path.name, ())) for one in photographs]
        kept = []
        for one in photographs:
            number = place.get((one.repository, one.place))
            if number is None:
                kept.append(one)
            else:
                everyday[number] = replace(everyday[number], captions=one.captions)
        others += _draw(kept, _PER_CLASS[name], config.draw_seed) if name in _PER_CLASS else kept
    names = read_names(config.everyday)
    return everyday + others + drawn_pictures(config.cache / DRAWN, names, config.drawn, config.draw_seed)


def _draw(photographs: Sequence[Photograph], per_class: int, seed: int) -> list[Photograph]:
    classes: dict[str, list[Photograph]] = {}
    for one in photographs:
        classes.setdefault(one.folder or "", []).append(one)
    drawn = []
    for name, members in sorted(classes.items()):
        # One draw per class, so that a change in one class leaves the draws of the others unchanged.
        order = random.Random(f"{seed} {name}")
        drawn += order.sample(members, min(per_class, len(members)))
    return drawn


def source_table(photographs: Sequence[Photograph]) -> list[dict[str, Any]]:
    """The training data for the manifest: a row for each source and repository, with `source`, `repository`,
    `revision`, `photographs` (their number) and `terms`.

    Raises DataError for a repository that is missing in `origins.yaml`.
    """
    origins = yaml.safe_load(_ORIGINS.read_text(encoding="utf-8"))
    counts = Counter((one.source, one.repository) for one in photographs)
    for one in photographs:
        if one.captions and one.repository in _CAPTIONS:
            counts[f"captions of {one.source}", _CAPTIONS[one.repository]] += 1
        if one.source == "coco" or one.coco_known - FIRST_LABELS:
            counts[f"labels of {one.source}", _LABELS] += 1
    unknown = [repository for _, repository in counts if repository not in origins]
    if unknown:
        raise DataError(f"{unknown[0]} has no origin and terms: add them to {_ORIGINS}")
    return [
        {
            "source": source,
            "repository": repository,
            "revision": origins[repository]["revision"],
            "photographs": count,
            "terms": origins[repository]["terms"],
        }
        for (source, repository), count in counts.items()
    ]
