"""Evaluates the tagger on other data sets: COCO's 80 labels, and the names of ImageNet's classes."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.everyday.answers import (
    asked,
    name_probabilities,
    question,
    shown_labels,
    shown_names,
    with_implied,
)
from benchmarks.everyday.baselines import FrozenTrunk, imagenet_synsets
from benchmarks.everyday.measures import Numbers, pair_measures
from sigrl.model.vocabulary import Vocabulary
from sigrl.service.tagging.selection import Selection
from sigrl.service.tagging.tagger import Tagger
from sigrl.service.vocabularies import builtin as vocabularies
from sigrl.training.backbones.initialisation import imagenet_class_names
from sigrl.training.data.coco import load_coco
from sigrl.training.data.dataset import DataError
from sigrl.training.measures.evaluation import MINIMUM_POSITIVES
from sigrl.training.tasks.everyday.class_kinds import class_kinds, narrowest_names

_OF_A_CLASS = 60
_FIRST = 5


def coco(tagger: Tagger, folder: Path) -> Numbers:
    """Measures `coco80` at its defaults on `val2014` of a folder in COCO's layout. The mean average precision
    covers the names with at least ten positives. Raises DataError, ImageError."""
    split = load_coco(folder, "val2014")
    vocabulary = vocabularies.builtin("coco80")
    (verdicts,) = asked(tagger, split.image_paths, [question(tagger, vocabulary)], "val2014")
    labels = np.where(split.labels > 0, 1, -1).astype(np.int8)
    counted = (labels > 0).sum(axis=0) >= MINIMUM_POSITIVES
    said = replace(
        shown_names(verdicts, vocabulary, split.label_names, shown_labels),
        probabilities=name_probabilities(verdicts, vocabulary, split.label_names),
    )
    found = pair_measures(said, labels, counted)
    shown = float(said.counts.mean())
    return {"photographs": len(labels), "names": int(counted.sum()), **found, "shown": shown}


def imagenet_names(tagger: Tagger, folder: Path, cache: Path) -> Numbers:
    """Top-1 and top-5 accuracy in percent, among the first names of ImageNet's 1,000 classes, and the same
    for the trunk's own classifier. Uses up to 60 photographs from each class folder; folders are named by
    synset. Raises DataError, ImageError."""
    synsets = imagenet_synsets()
    folders = sorted(each for each in folder.iterdir() if each.name in synsets)
    if not folders:
        raise DataError(f"{folder} contains no folder named by a synset: give another one with --imagenette")
    random = np.random.default_rng(0)
    paths: list[Path] = []
    classes: list[int] = []
    for each in folders:
        files = sorted(each.iterdir())
        chosen = [files[row] for row in random.permutation(len(files))[:_OF_A_CLASS]]
        paths += chosen
        classes += [synsets.index(each.name)] * len(chosen)
    names = [each[0] for each in imagenet_class_names()]
    # Two classes with one name, such as the bird and the machine called crane, are one label.
    distinct = {name.casefold(): name for name in reversed(names)}
    vocabulary = Vocabulary.from_names(list(distinct.values()))
    first = tagger.question(vocabulary, Selection(top_k=_FIRST))
    (verdicts,) = asked(tagger, paths, [first], "ImageNet's names")
    right = [distinct[names[each].casefold()] for each in classes]
    ours = [[tag.label for tag in verdict.tagging.tags] for verdict in verdicts]
    trunk = FrozenTrunk(cache)
    probabilities = trunk.class_probabilities(trunk.features(paths, "the trunk itself"))
    theirs = np.argsort(-probabilities, axis=1)[:, :_FIRST].tolist()
    top_1, top_5 = _first_and_among(ours, right)
    trunk_1, trunk_5 = _first_and_among(theirs, classes)
    return {
        "photographs": len(paths),
        "names": len(distinct),
        "top_1": top_1,
        "top_5": top_5,
        "trunk_top_1": trunk_1,
        "trunk_top_5": trunk_5,
        "share_of_the_trunks_top_1": 100 * top_1 / trunk_1 if trunk_1 else 0.0,
    }


def one_thing(tagger: Tagger, folder: Path) -> Numbers:
    """The brief answer for photographs that each show one thing, a class of ImageNet; the files are named
    `SYNSET_*`. In percent: photographs with the narrowest name that `everyday` has for their class among the
    shown tags (`snake` for a boa, `dog` for a borzoi), with that or a broader one shown or implied, and with
    no tag. Classes without a name in `everyday` are left out. Raises DataError, ImageError."""
    synsets, narrowest = imagenet_synsets(), narrowest_names()
    kinds = class_kinds(vocabularies.builtin("everyday"))
    paths: list[Path] = []
    classes: list[int] = []
    for path in sorted(folder.iterdir()):
        synset = path.name.partition("_")[0]
        if synset in synsets and narrowest[number := synsets.index(synset)]:
            paths.append(path)
            classes.append(number)
    if not paths:
        raise DataError(f"{folder} contains no file named SYNSET_*: give another one with --one-thing")
    (verdicts,) = asked(tagger, paths, [question(tagger, tagger.vocabulary, brief=True)], "one thing")
    broader = [{name for name, members in kinds.items() if number in members} for number in classes]
    shown = [shown_labels(verdict) for verdict in verdicts]
    said = [with_implied(verdict) for verdict in verdicts]
    return {
        "photographs": len(paths),
        "named": _share(
            not set(narrowest[number]).isdisjoint(tags) for number, tags in zip(classes, shown, strict=True)
        ),
        "named_or_broader": _share(
            not names.isdisjoint(tags) for names, tags in zip(broader, said, strict=True)
        ),
        "nothing_shown": _share(not tags for tags in shown),
    }


def _share(of: Iterable[bool]) -> float:
    return 100 * float(np.mean(list(of)))


def _first_and_among(found: Sequence[Sequence[object]], right: Sequence[object]) -> tuple[float, float]:
    """Percent of photographs whose correct label is ranked first, and whose correct label is in the list."""
    pairs = list(zip(found, right, strict=True))
    first = np.mean([each[0] == answer for each, answer in pairs])
    return 100 * float(first), 100 * float(np.mean([answer in each for each, answer in pairs]))
