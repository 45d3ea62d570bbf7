"""The data of a run: photographs, names and known labels, for training and for `sigrl-train check`."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sigrl.model.vocabulary import Vocabulary
from sigrl.training.data.check import DataReport, check
from sigrl.training.data.dataset import LabelledPhotographs
from sigrl.training.data.label_lists import read_label_list, unique
from sigrl.training.tasks.everyday.config import EverydayConfig
from sigrl.training.tasks.everyday.hidden import Hidden
from sigrl.training.tasks.everyday.names import ClassNames
from sigrl.training.tasks.everyday.photographs import Photograph
from sigrl.training.tasks.everyday.sources import read_everyday, read_names, read_sources
from sigrl.training.tasks.everyday.targets import Targets, make_targets


@dataclass(frozen=True, eq=False)
class EverydayData:
    """N photographs, and the targets made from them."""

    vocabulary: Vocabulary
    names: tuple[str, ...]
    """The names that `everyday` was labelled with; they are the first of the known words."""
    photographs: tuple[Photograph, ...]
    """As their data sets describe them."""
    told: tuple[Photograph, ...]
    """Without hidden labels."""
    targets: Targets
    """The targets of `told`."""
    hidden: tuple[str, ...]
    """The hidden known words."""


def load_data(config: EverydayConfig) -> EverydayData:
    """Reads all folders and lists of the configuration. Raises DataError and VocabularyError."""
    vocabulary = Vocabulary.load(config.vocabulary)
    names = ClassNames(read_names(config.everyday), vocabulary)
    hidden = Hidden(config, names)
    photographs = read_sources(config)
    told = [hidden.remove(one) for one in photographs]
    listed = unique(word for path in config.label_lists for word in read_label_list(path))
    targets = make_targets(told, names, hidden, listed)
    return EverydayData(
        vocabulary=vocabulary,
        names=names.names,
        photographs=tuple(photographs),
        told=tuple(told),
        targets=targets,
        hidden=tuple(word for word in targets.known_words if word in hidden.names | hidden.coco),
    )


def check_everyday(config: EverydayConfig) -> dict[str, DataReport]:
    """The problems with the photographs of each source, and how many labels are known per known word."""
    data = load_data(config)
    sources = np.array([one.source for one in data.photographs])
    known = LabelledPhotographs(
        tuple(one.path for one in data.photographs), data.targets.known_words, data.targets.known
    )
    return {str(source): check(known.select(sources == source)) for source in dict.fromkeys(sources)}


def held_out_photographs(config: EverydayConfig) -> LabelledPhotographs:
    """The test photographs of `everyday`, with all their labels."""
    names = read_names(config.everyday)
    photographs = [one for one in read_everyday(config.everyday) if one.role == "test"]
    return LabelledPhotographs(
        tuple(one.path for one in photographs),
        names,
        dense_labels(photographs, names),
        tuple(one.path.stem for one in photographs),
    )


def dense_labels(photographs: Sequence[Photograph], names: Sequence[str]) -> np.ndarray:
    """[n, K] int8 labels of densely labelled photographs: +1 a name applies, 0 it may apply, -1 it does
    not."""
    column = {name: number for number, name in enumerate(names)}
    labels = np.full((len(photographs), len(names)), -1, dtype=np.int8)
    for row, photograph in zip(labels, photographs, strict=True):
        for value, applying in ((0, photograph.unsure), (1, photograph.positive)):
            row[[column[name] for name in applying]] = value
    return labels
