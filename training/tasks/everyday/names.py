"""The names of `everyday`: what each implies, and the words for it in other data sets and in captions."""

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from sigrl.model.vocabulary import Vocabulary
from sigrl.model.word_forms import plain
from sigrl.training.data.dataset import DataError

_TABLES = Path(__file__).with_name("class_names.yaml")


class ClassNames:
    """Names in their order, with the words that stand for them elsewhere."""

    def __init__(self, names: Sequence[str], vocabulary: Vocabulary) -> None:
        """`names` are the labelled names; `vocabulary` has their parents and synonyms.

        Raises DataError for a name that the vocabulary lacks.
        """
        self.names = tuple(names)
        self.column = {name: number for number, name in enumerate(names)}
        self.tables: Mapping[str, Any] = yaml.safe_load(_TABLES.read_text(encoding="utf-8"))
        parents = {label.name: label.parent for label in vocabulary.labels}
        if absent := [name for name in names if name not in parents]:
            raise DataError(
                f"the vocabulary '{vocabulary.name}' lacks {absent[0]!r}: use the vocabulary of the labels"
            )
        self._ancestors = {name: tuple(self._above(name, parents)) for name in names}
        self._by_word: dict[str, str] = {plain(name): name for name in names}
        self.synonyms = {
            label.name: label.synonyms for label in vocabulary.labels if label.name in self.column
        }
        for name, words in self.synonyms.items():
            for word in words:
                self._by_word.setdefault(plain(word), name)

    def _above(self, name: str, parents: Mapping[str, str | None]) -> Iterable[str]:
        above = parents[name]
        while above is not None:
            # A vocabulary may have gained names since the photographs were labelled.
            if above in self.column:
                yield above
            above = parents.get(above)

    def with_ancestors(self, name: str) -> tuple[str, ...]:
        """The name and all names that it implies."""
        return (name, *self._ancestors[name])

    @cached_property
    def descendants(self) -> Mapping[str, frozenset[str]]:
        """Name -> all names that imply it."""
        below: dict[str, set[str]] = {name: set() for name in self.names}
        for name in self.names:
            for above in self._ancestors[name]:
                below[above].add(name)
        return {name: frozenset(members) for name, members in below.items()}

    def find(self, word: str) -> str | None:
        """The name that a word, its singular or its plural stands for."""
        word = plain(word)
        for form in (word, word.rstrip("s"), f"{word}s"):
            if form in self._by_word:
                return self._by_word[form]
        return None

    def of_coco(self, label: str) -> str | None:
        """The name with the meaning of a COCO label."""
        return self.find(self.tables["coco"].get(label, label))

    def of_folder(self, source: str, folder: str) -> set[str]:
        """The names that apply to every photograph of a class."""
        found = {self._of_part(source, part) for part in _parts(folder)}
        if source in self.tables["also"]:
            found.add(self.find(self.tables["also"][source]))
        return {name for name in found if name is not None}

    def _of_part(self, source: str, part: str) -> str | None:
        name = self.find(self.tables["folders"].get(part, part))
        if name is None and source in self.tables["last_word"]:
            name = self.find(part.rpartition("-")[2])
        return name

    def class_words(self, folder: str) -> list[str]:
        """The class's own words, for the embedding to learn."""
        table: Mapping[str, str | None] = self.tables["class_words"]
        words = [table[part] if part in table else plain(part) for part in _parts(folder)]
        return [word for word in words if word is not None]

    def caption_forms(self) -> dict[str, str]:
        """Word in captions -> name, without words that too often mean something else."""
        forms: dict[str, str] = {}
        ambiguous = set(self.tables["ambiguous"])
        for word, name in self._by_word.items():
            for form in inflected(word):
                if not {form, word, name} & ambiguous:
                    forms.setdefault(form, name)
        for word, name in self.tables["caption_words"].items():
            meant = self.find(name)
            if meant is not None and meant not in ambiguous:
                forms[word] = meant
        return forms


def inflected(word: str) -> tuple[str, ...]:
    """A word and its possible plurals."""
    plurals = (word, f"{word}s", f"{word}es")
    return (*plurals, f"{word[:-1]}ies") if word.endswith("y") else plurals


class Mentions:
    """Finds words of up to three parts in captions, the longest at each place, so that a "hot dog" is not a
    dog."""

    def __init__(self, forms: Mapping[str, str]) -> None:
        """`forms`: word in captions, in lower case -> what it stands for."""
        self._forms = forms

    def find(self, caption: str) -> set[str]:
        """Everything that a caption mentions."""
        words = re.findall(r"[a-z']+", caption.lower())
        found, place = set(), 0
        while place < len(words):
            for length in (3, 2, 1):
                name = self._forms.get(" ".join(words[place : place + length]))
                if name is not None and place + length <= len(words):
                    found.add(name)
                    place += length
                    break
            else:
                place += 1
        return found


def _parts(folder: str) -> list[str]:
    # Places are filed in folders named after their first letter.
    return [part for part in folder.split("/") if len(part) > 1]
