"""Removes hidden words, on which a run is later measured as new words."""

from collections.abc import Sequence
from dataclasses import replace

from sigrl.training.data.dataset import DataError
from sigrl.training.data.label_lists import naming_pattern
from sigrl.training.tasks.everyday.config import EverydayConfig
from sigrl.training.tasks.everyday.names import ClassNames
from sigrl.training.tasks.everyday.photographs import Photograph


class Hidden:
    """Removes hidden words from the data sets' labels before targets are made."""

    def __init__(self, config: EverydayConfig, names: ClassNames) -> None:
        """Raises DataError if a word in `hidden_words` is not a name."""
        if unknown := [word for word in config.hidden_words if word not in names.column]:
            raise DataError(
                f"`hidden_words` has {unknown[0]!r}, which is not in {config.everyday / 'names.txt'}: "
                "write it as in that file"
            )
        self._names = names
        self.coco = frozenset(config.hidden_coco)
        meant = {name for label in config.hidden_coco if (name := names.of_coco(label)) is not None}
        narrower = {below for name in meant for below in names.descendants[name]}
        self.names = frozenset(config.hidden_words) | meant | narrower
        """The hidden names of `everyday`."""
        other_names: dict[str, Sequence[str]] = {name: names.synonyms[name] for name in self.names}
        for label, others in config.other_names.items():
            other_names[label] = (*other_names.get(label, ()), *others)
        coco = sorted(self.coco | meant | narrower)
        self.mentioned = frozenset(config.hidden_words) - meant - narrower
        """Those of them that captions may name."""
        self._in_captions = naming_pattern(coco, other_names)
        self._in_classes = naming_pattern(sorted(self.coco | self.names), other_names)

    def allows(self, word: str) -> bool:
        """Whether a word of captions may be learned from them, because it names nothing hidden there too."""
        return self._in_captions is None or self._in_captions.search(word) is None

    def remove(self, photograph: Photograph) -> Photograph:
        """The photograph without its hidden labels, which become unknown. A class folder that names one is
        dropped, and so is a caption that names a hidden label of COCO."""
        folder = photograph.folder
        if folder is not None and not self._allows_folder(photograph.source, folder):
            folder = None
        captions = photograph.captions
        if self._in_captions is not None:
            captions = tuple(text for text in captions if self._in_captions.search(text) is None)
        return replace(
            photograph,
            positive=photograph.positive - self.names,
            unsure=photograph.unsure | self.names if photograph.dense else photograph.unsure,
            coco_positive=photograph.coco_positive - self._coco_labels(photograph.coco_positive),
            coco_known=photograph.coco_known - self._coco_labels(photograph.coco_known),
            captions=captions,
            folder=folder,
        )

    def _coco_labels(self, labels: frozenset[str]) -> frozenset[str]:
        if not self.names and not self.coco:
            return frozenset()
        return frozenset(
            label for label in labels if label in self.coco or self._names.of_coco(label) in self.names
        )

    def _allows_folder(self, source: str, folder: str) -> bool:
        return not self._names.of_folder(source, folder) & self.names and not any(
            self._in_classes is not None and self._in_classes.search(word)
            for word in self._names.class_words(folder)
        )
