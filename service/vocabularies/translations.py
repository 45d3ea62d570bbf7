"""The names of the built-in vocabularies in other languages, in both directions."""

import json
from collections import Counter
from collections.abc import Collection, Mapping
from functools import cache
from importlib.resources import files

LANGUAGES = ("de", "es", "fr", "it", "pt", "ja", "zh")
"""BCP 47 tags: German, Spanish, French, Italian, Portuguese as in Brazil, Japanese, Chinese in simplified
characters."""


@cache
def names_in(language: str) -> Mapping[str, str]:
    """English name -> name in one of `LANGUAGES`, for every label of every built-in vocabulary."""
    names: dict[str, str] = json.loads(_file(f"{language}.json"))
    return names


def translations_of(english: str) -> dict[str, str]:
    """Language -> the name of a built-in label in it."""
    return {language: names_in(language)[english] for language in LANGUAGES}


def english_for(word: str, english_words: Collection[str], language: str | None = None) -> str | None:
    """The English name of what a foreign word means, or None.

    A word is read in `language`, one of `LANGUAGES`, first. Otherwise it is a foreign word only if it is
    neither in `english_words`, which are case-folded, nor otherwise an English word; if it means different
    things in several languages, the meaning that most of them share counts, else the one in the first of
    `LANGUAGES`.
    """
    folded = word.casefold()
    if language is not None and (meaning := _meanings(language).get(folded)) is not None:
        return meaning
    if folded in english_words or folded in _also_english():
        return None
    found = Counter(each for known in map(_meanings, LANGUAGES) if (each := known.get(folded)) is not None)
    return found.most_common(1)[0][0] if found else None


@cache
def _meanings(language: str) -> Mapping[str, str]:
    """Case-folded name -> the English name."""
    # The file lists the everyday names first, and they take precedence over the same name further down.
    return {name.casefold(): english for english, name in reversed([*names_in(language).items()])}


@cache
def _also_english() -> frozenset[str]:
    """Case-folded names that are words in English too, with another meaning or the same."""
    return frozenset(json.loads(_file("also-english.json")))


def _file(name: str) -> str:
    return files("sigrl.service.vocabularies").joinpath("names", name).read_text(encoding="utf-8")
