"""All photographs of a run: what their data sets say, without those that are held out under another name."""

import json
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from sigrl.training.data.dataset import DataError
from sigrl.training.tasks.everyday.config import EverydayConfig, SourceName
from sigrl.training.tasks.everyday.photographs import Photograph, found
from sigrl.training.tasks.everyday.readers import READERS, read_coco_subset, read_flickr8k_captions

_PER_CLASS: Mapping[SourceName, int] = {
    "caltech101": 60,
    "grocery": 30,
    "clothing": 120,
    "food": 150,
    "places": 60,
}
"""Photographs taken of a class: classes that say one thing each soon say nothing new."""
_CAPTIONS = {"RlNZLER/Image-Text-Matching": "quantumnaan/sic_translator"}
"""Repository of photographs -> the one that their captions come from, where it is another."""
_LABELS = {"coco": "PengtaoJiang/L2G"}
"""Source -> the repository that labels were added from."""
_SOUGHT = ("Y", "Z", "M", "R")
"""How ids of photographs of `everyday` begin that were sought because a model saw something rare in them."""
_ORIGINS = Path(__file__).with_name("origins.yaml")


def read_names(everyday: Path) -> tuple[str, ...]:
    """The names that were labelled, in their order. Raises DataError."""
    path = everyday / "names.txt"
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError as error:
        raise DataError(f"{path} is not there: point `everyday` at the folder that holds it") from error
    names = tuple(line for line in lines if line)
    if not names:
        raise DataError(f"{path} holds no names: fetch the data set again")
    return names


def read_everyday(folder: Path) -> list[Photograph]:
    """The densely labelled photographs. Raises DataError."""
    path = folder / "labels.jsonl"
    photographs = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError as error:
        raise DataError(f"{path} is not there: point `everyday` at the folder that holds it") from error
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
                    holds=frozenset(entry["labels"]),
                    unsure=frozenset(entry["unsure"]),
                )
            )
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path}, line {number} is no photograph ({error}): fetch it again") from error
    return found(photographs, folder, "labels.jsonl lists them")


def read_sources(config: EverydayConfig) -> list[Photograph]:
    """Everyday's photographs, COCO's, then those of the sources in the order of the configuration.

    A photograph of `everyday` stands in no other source: there it is left out, and lends its captions. Of a
    class with many photographs some are drawn. Raises DataError.
    """
    everyday = read_everyday(config.everyday)
    place = {(one.repository, one.place): number for number, one in enumerate(everyday)}
    others = read_coco_subset(config.coco)
    for name, folder in config.sources.items():
        photographs = READERS[name](folder)
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
    return everyday + others


def _draw(photographs: Sequence[Photograph], per_class: int, seed: int) -> list[Photograph]:
    classes: dict[str, list[Photograph]] = {}
    for one in photographs:
        classes.setdefault(one.folder or "", []).append(one)
    drawn = []
    for name, members in sorted(classes.items()):
        # By class: what one of them gains or loses leaves the draws of the others as they are.
        order = random.Random(f"{seed} {name}")
        drawn += order.sample(members, min(per_class, len(members)))
    return drawn


def source_table(photographs: Sequence[Photograph]) -> list[dict[str, Any]]:
    """What was trained on, for the manifest: a row for each source and repository, with `source`,
    `repository`, `revision`, `photographs` (their count) and `terms`.

    Raises DataError for a repository of which `origins.yaml` says nothing.
    """
    origins = yaml.safe_load(_ORIGINS.read_text(encoding="utf-8"))
    counts = Counter((one.source, one.repository) for one in photographs)
    for one in photographs:
        if one.captions and one.repository in _CAPTIONS:
            counts[f"captions of {one.source}", _CAPTIONS[one.repository]] += 1
        if one.source in _LABELS:
            counts[f"labels of {one.source}", _LABELS[one.source]] += 1
    unknown = [repository for _, repository in counts if repository not in origins]
    if unknown:
        raise DataError(f"{unknown[0]} has no origin and terms: write them into {_ORIGINS}")
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
