"""ImageNet's classes under the names that people use: which names each class is a kind of."""

from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path

import numpy as np
import yaml

from sigrl.model.class_evidence import KIND_GAINS, Array
from sigrl.model.label_facts import TOP_CLASSES
from sigrl.model.vocabulary import Vocabulary
from sigrl.training.tasks.everyday.names import ClassNames

_TABLE = Path(__file__).with_name("class_kinds.yaml")
DEFAULT_KIND_GAINS: Mapping[str, float] = {"kind": 2.0, "kind_offset": 3.0}
"""Chosen on `everyday`'s val photographs: with these their likelihood rises a little, with a larger offset it
does not. A larger offset would find more things that fill a photograph alone, but few of them do."""


def narrowest_names() -> list[tuple[str, ...]]:
    """The narrowest names of `everyday` that each class is a kind of, in the classes' order."""
    table = yaml.safe_load(_TABLE.read_text(encoding="utf-8"))
    return [tuple(names) for entry in table for names in entry.values()]


def class_kinds(vocabulary: Vocabulary) -> dict[str, tuple[int, ...]]:
    """Name -> the classes that are kinds of it, for all names of `vocabulary` that have any."""
    names = ClassNames(vocabulary.names, vocabulary)
    kinds: dict[str, list[int]] = {}
    for number, narrowest in enumerate(narrowest_names()):
        implied = [names.with_ancestors(name) for name in narrowest if name in names.column]
        # Two names of a class may have the same parent.
        for name in dict.fromkeys(chain.from_iterable(implied)):
            kinds.setdefault(name, []).append(number)
    return {name: tuple(classes) for name, classes in kinds.items()}


def with_common_names(
    classes: Sequence[Sequence[str]], kinds: Mapping[str, Sequence[int]]
) -> list[list[str]]:
    """The names of each class, and the name of `kinds` that stands for it and few others."""
    named = [list(names) for names in classes]
    for name, members in kinds.items():
        if len(members) <= TOP_CLASSES:
            for number in members:
                if name.casefold() not in (other.casefold() for other in named[number]):
                    named[number].append(name)
    return named


def kind_arrays(words: Sequence[str], kinds: Mapping[str, Sequence[int]]) -> dict[str, Array]:
    """The arrays `kind_*` of `sigrl.model.evidence_arrays` for these known words; none without pairs."""
    pairs = [(row, number) for row, word in enumerate(words) for number in kinds.get(word, ())]
    if not pairs:
        return {}
    of_words, of_classes = np.array(pairs, np.float32).T
    gains = np.array([DEFAULT_KIND_GAINS[name] for name in KIND_GAINS], np.float32)
    return {"kind_words": of_words, "kind_classes": of_classes, "kind_gains": gains}
