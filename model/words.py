"""Cleans texts that users write into a vocabulary, and refuses those that could not be shown or matched."""

import re
import unicodedata
from collections.abc import Collection, Mapping, Sequence
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

MAX_NAME_LENGTH = 200
_MAX_TRANSLATIONS = 64
# Composing accents takes time in the square of the length.
_MAX_UNCLEANED = 1000

# Overrides of the writing direction make a terminal or web page show a text that differs from the stored one.
_DIRECTION_CONTROLS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
# Nothing is drawn for these: soft hyphens, spaces of no width, byte-order marks, tags, fillers.
_INVISIBLE = re.compile(
    "[\u00ad\u034f\u115f\u1160\u180e\u200b\u2060-\u2064\u3164\ufeff\uffa0\U000e0000-\U000e007f]"
)
# Persian, Indic scripts and emoji need joiners. After a Latin letter, they change nothing that one can see.
_LATIN_JOINER = re.compile("(?<=[\u0000-\u02ff])[\u200c\u200d]")
_LANGUAGE = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]{2,8})*")


def clean_text(text: str) -> str:
    """Trims, collapses whitespace, composes accents and removes invisible characters, so that texts that look
    equal are equal."""
    text = text if text.isascii() else _LATIN_JOINER.sub("", _INVISIBLE.sub("", text))
    return " ".join(unicodedata.normalize("NFC", text).split())


def _refuse_control_characters(text: str) -> None:
    for character in text:
        if unicodedata.category(character) in ("Cc", "Cs") or character in _DIRECTION_CONTROLS:
            raise ValueError(
                f"{text[:60]!a} contains the control character U+{ord(character):04X}: remove it"
            )


def _check_name(name: str) -> str:
    if len(name) > _MAX_UNCLEANED:
        raise _too_long(name)
    name = clean_text(name)
    if not name:
        raise ValueError("a label is empty: give every label at least one character")
    if len(name) > MAX_NAME_LENGTH:
        raise _too_long(name)
    _refuse_control_characters(name)
    return name


def _too_long(name: str) -> ValueError:
    return ValueError(
        f"the label '{name[:40]}...' has {len(name):,} characters, at most {MAX_NAME_LENGTH} are "
        "allowed: use a word or a short phrase, and put longer text into `prompts`"
    )


def _check_prompt(prompt: str) -> str:
    prompt = clean_text(prompt)
    if not prompt:
        raise ValueError("a prompt is empty: remove it or write a sentence")
    _refuse_control_characters(prompt)
    return prompt


def _check_language(language: str) -> str:
    if not _LANGUAGE.fullmatch(language) or len(language) > 35:
        raise ValueError(f"'{language[:40]}' is not a language: write its BCP 47 tag, like `de` or `pt-BR`")
    return language


def best_language(wanted: Sequence[str], available: Collection[str]) -> str | None:
    """The available language that fits best, both as BCP 47 tags, by RFC 4647's lookup: `de-AT` finds `de`. A
    tag without a region also finds one with a region, `pt` finds `pt-BR`. None if none of `wanted` fits."""
    by_tag = {tag.casefold(): tag for tag in sorted(available)}
    for tag in wanted:
        parts = tag.casefold().split("-")
        for count in range(len(parts), 0, -1):
            if (found := by_tag.get("-".join(parts[:count]))) is not None:
                return found
        for folded, found in by_tag.items():
            if folded.startswith(f"{parts[0]}-"):
                return found
    return None


def _refuse_too_many(translations: Any) -> Any:
    if isinstance(translations, dict) and len(translations) > _MAX_TRANSLATIONS:
        raise ValueError(
            f"a label has {len(translations):,} translations, at most {_MAX_TRANSLATIONS} are allowed"
        )
    return translations


Name = Annotated[str, AfterValidator(_check_name)]
Prompt = Annotated[str, Field(max_length=1000), AfterValidator(_check_prompt)]
Language = Annotated[str, AfterValidator(_check_language)]
# Their number is checked before each of them is.
Translations = Annotated[
    Mapping[Language, Name], Field(max_length=_MAX_TRANSLATIONS), BeforeValidator(_refuse_too_many)
]
