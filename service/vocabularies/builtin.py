"""The vocabularies that ship with the package, and the parser for labels in a line of text."""

import re
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path

from sigrl.model.bounded_json import MAX_SEPARATORS, loads
from sigrl.model.vocabulary import Label, Vocabulary, VocabularyError
from sigrl.model.words import best_language
from sigrl.service.errors import InvalidLabelsError, ParameterError
from sigrl.service.settings import Settings
from sigrl.service.vocabularies.translations import LANGUAGES, english_for, translations_of

BUILTIN = ("default", "everyday", "coco80", "voc20", "nuswide81")
_SAME = {"default": "everyday"}
"""Aliases, and the vocabularies whose labels they have."""
NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
"""The names that users may give to their vocabularies."""


@cache
def builtin(name: str) -> Vocabulary:
    """A vocabulary of the package, by name. Raises InvalidLabelsError."""
    if name not in BUILTIN:
        raise InvalidLabelsError(f"there is no vocabulary '{name[:40]}'", f"use one of {', '.join(BUILTIN)}")
    if name in _SAME:
        return builtin(_SAME[name]).model_copy(update={"name": name})
    text = files("sigrl.service.vocabularies").joinpath(f"{name}.json").read_text(encoding="utf-8")
    vocabulary = Vocabulary.from_json(text, name)
    return _with_translations(vocabulary, {each: translations_of(each) for each in vocabulary.names})


def is_builtin(vocabulary: Vocabulary) -> bool:
    """Whether the vocabulary is a built-in one, with exactly its labels."""
    name = vocabulary.name
    return name in BUILTIN and vocabulary.content_hash == builtin(name).content_hash


def find(name_or_path: str, settings: Settings) -> Vocabulary:
    """A built-in or registered vocabulary by its name, or one from a file; `./default` is always a file.
    Raises InvalidLabelsError, and ParameterError or StoreError for a database that cannot be used."""
    if name_or_path in BUILTIN:
        return builtin(name_or_path)
    if NAME.fullmatch(name_or_path):
        # Imported here, so that callers that need no database do not load its libraries.
        from sigrl.service.vocabularies.registry import registered

        vocabulary = registered(name_or_path, settings)
        if vocabulary is not None:
            return vocabulary
    try:
        return Vocabulary.load(Path(name_or_path))
    except VocabularyError as error:
        hint = f"give a file, a name that `sigrl vocab list` shows, or one of {', '.join(BUILTIN)}"
        raise InvalidLabelsError(str(error), hint) from error


def from_names(names: Sequence[str], language: str | None = None) -> Vocabulary:
    """A vocabulary of the labels that a caller gives. A label in another language than English gets its
    English name as the translation `en` if it is the translation of a built-in label; see `english_for`.
    `language`, as a BCP 47 tag, makes the labels be read in that language first; in English alone with `en`.
    Raises InvalidLabelsError, and ParameterError for a language in which labels cannot be read."""
    read_in = None
    if language is not None:
        read_in = best_language((language,), (*LANGUAGES, "en"))
        if read_in is None:
            raise ParameterError(
                f"labels cannot be read in the language '{language[:40]}'",
                f"use one of en, {', '.join(LANGUAGES)}, or give a vocabulary with translations `en`",
            )
    try:
        vocabulary = Vocabulary.from_names(names)
    except VocabularyError as error:
        raise InvalidLabelsError(str(error), "give words or short phrases, each once") from error
    if read_in == "en":
        return vocabulary
    english = {name: english_for(name, _english_words(), read_in) for name in vocabulary.names}
    found = {name: {"en": meaning} for name, meaning in english.items() if meaning is not None}
    return _with_translations(vocabulary, found) if found else vocabulary


def _with_translations(vocabulary: Vocabulary, found: Mapping[str, Mapping[str, str]]) -> Vocabulary:
    """The vocabulary with the translations of some labels, by their names."""

    def translated(label: Label) -> Label:
        if label.name not in found:
            return label
        return label.model_copy(update={"translations": found[label.name]})

    return vocabulary.model_copy(update={"labels": tuple(map(translated, vocabulary.labels))})


@cache
def _english_words() -> frozenset[str]:
    """The case-folded names and synonyms of the built-in labels."""
    labels = (label for name in BUILTIN for label in builtin(name).labels)
    return frozenset(word.casefold() for label in labels for word in (label.name, *label.synonyms))


def parse_labels(texts: Sequence[str], language: str | None = None) -> Vocabulary:
    """Labels from a command line or a form, where each text is `dog, bicycle` or a JSON list.

    Commas always separate labels, and empty pieces are dropped. A label with a comma needs a JSON list:
    `["salt, pepper", "dog"]`. Several texts are concatenated. `language` is as in `from_names`. Raises
    InvalidLabelsError and ParameterError.
    """
    names: list[str] = []
    if (commas := sum(text.count(",") for text in texts)) > MAX_SEPARATORS:
        raise InvalidLabelsError(f"the labels have {commas:,} commas", "split the list")
    for text in texts:
        if text.lstrip().startswith("["):
            names += _parse_list(text)
        else:
            names += [piece for piece in text.split(",") if piece.strip()]
    return from_names(names, language)


def _parse_list(text: str) -> list[str]:
    hint = 'write labels as dog, bicycle or as ["dog", "bicycle"]'
    try:
        names = loads(text)
    except ValueError as error:
        raise InvalidLabelsError(f"the list of labels is not valid JSON: {error}", hint) from error
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InvalidLabelsError("the list of labels contains something that is not text", hint)
    return names
