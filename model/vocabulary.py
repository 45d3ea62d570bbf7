"""Labels in the user's own words, and vocabularies of them. Imports without torch."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from sigrl.model.bounded_json import loads, refuse_unknown_fields
from sigrl.model.config import Frozen
from sigrl.model.hierarchy import Hierarchy
from sigrl.model.label_calibration import EverydayGoal, TargetPrecision, TargetRecall
from sigrl.model.label_lists import read_labels
from sigrl.model.label_warnings import names_an_absence
from sigrl.model.words import MAX_NAME_LENGTH, Name, Prompt, Translations

MAX_LABELS = 20_000
MAX_FILE_BYTES = 32 * 1024 * 1024

_ADDED_BY_REGISTRIES = frozenset({"hash", "size", "built_in", "created", "calibration", "calibrated"})


class VocabularyError(ValueError):
    """A vocabulary or a label that cannot be used; the message names it and says what to do."""


def _accept_bare_name(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else refuse_unknown_fields(value, Label.model_fields)


Share = Annotated[float, Field(gt=0.0, lt=1.0)]
_TEXTS = {"name", "synonyms", "prompts"}
"""The fields of a label that the text tower sees, where the name is the English one."""
SETTINGS = ("precision", "recall")
"""The fields of a vocabulary that apply to all its labels."""


class Label(Frozen):
    """One thing to look for."""

    name: Name
    """The name in answers; trimmed, inner whitespace collapsed, at most 200 characters."""
    synonyms: Annotated[tuple[Name, ...], Field(max_length=32)] = ()
    """Other words for the same thing; their features are averaged with the name's."""
    prompts: Annotated[tuple[Prompt, ...], Field(max_length=32)] = ()
    """Complete texts that replace the checkpoint's templates; `{label}` stands for the name or a synonym."""
    description: str = Field(default="", max_length=2000)
    """For human readers; the text tower does not see it."""
    parent: Name | None = None
    """Name of the broader label in the same vocabulary: if this label is present, so is that one."""
    exclusive_group: Name | None = None
    """Labels with the same parent and the same group exclude each other: at most one is present."""
    threshold: float | None = Field(default=None, ge=0.0, le=1.0)
    """Probability from which on the label counts as present; None: the request or the checkpoint decides."""
    translations: Translations = Field(default={})
    """The name in other languages by BCP 47 tag, `{"de": "Hund"}`, for answers. The text tower, which is
    trained on English, sees the translation `en` in place of the name, and no other."""

    @property
    def english(self) -> str:
        """The name that the text tower sees."""
        return self.translations.get("en", self.name)

    def called(self, language: str | None) -> str:
        """The name in a language, by the tag that `translations` has; the label's own name without one."""
        return self.translations.get(language or "", self.name)

    def texts(self, templates: Sequence[str]) -> tuple[str, ...]:
        """The texts whose features form this label: every prompt, or otherwise every template, filled with
        the English name and each synonym in turn. Duplicates are removed, the order is kept."""
        words = (self.english, *self.synonyms)
        # str.replace and not str.format, because prompts come from users and format fields can access
        # attributes.
        filled = (text.replace("{label}", word) for text in self.prompts or templates for word in words)
        return tuple(dict.fromkeys(filled))


def _refuse_too_many(labels: Any) -> Any:
    if isinstance(labels, list | tuple) and len(labels) > MAX_LABELS:
        raise ValueError(
            f"there are {len(labels):,} labels, at most {MAX_LABELS:,} are allowed: split the vocabulary"
        )
    return labels


def _refuse_duplicates(labels: Sequence[Label]) -> None:
    first: dict[str, str] = {}
    for label in labels:
        folded = label.name.casefold()
        if folded in first:
            also = "" if first[folded] == label.name else f", also as '{first[folded]}'"
            raise ValueError(f"the label '{label.name}' is there twice{also}: remove one of them")
        first[folded] = label.name


class Vocabulary(Frozen):
    """Labels that are asked for together, in the order of the scores.

    The constructor raises pydantic's ValidationError; `from_names`, `from_json` and `load`, which read user
    input, raise `VocabularyError`. Both are ValueErrors.
    """

    name: Name = "labels"
    """The vocabulary's name in answers."""
    version: int | None = Field(default=None, ge=1)
    """The version of that name in a registry; None: not from a registry."""
    calibration: int | None = Field(default=None, ge=1)
    """The registry's calibration by examples that applies to this name; None: there is none."""
    calibrated: datetime | None = Field(default=None, exclude=True)
    """When that calibration was made: after a restore of the database another one may get its number."""
    labels: Annotated[
        tuple[Annotated[Label, BeforeValidator(_accept_bare_name)], ...],
        Field(fail_fast=True),
        # This runs before each label is validated separately.
        BeforeValidator(_refuse_too_many),
    ]
    """1 to 20,000 labels; names differ after case folding. A bare string is a label with that name."""
    precision: Share | None = None
    """Target precision: of the photographs that get a label, the share that should show it. Thresholds follow
    from it unless the request or the label sets one."""
    recall: Share | None = None
    """Target recall, instead of `precision`: of the photographs that show a label, the share that should get
    it."""

    @model_validator(mode="after")
    def _check_goal(self) -> "Vocabulary":
        if self.precision is not None and self.recall is not None:
            raise ValueError("the vocabulary sets both a precision and a recall: remove one of them")
        return self

    @model_validator(mode="after")
    def _check_labels(self) -> "Vocabulary":
        if not self.labels:
            raise ValueError("there is no label: name at least one thing to look for")
        _refuse_duplicates(self.labels)
        # Built here and not on first use, so that errors are reported at once.
        _ = self.hierarchy
        return self

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The labels' names, in order."""
        return tuple(label.name for label in self.labels)

    @cached_property
    def languages(self) -> frozenset[str]:
        """The languages in which at least one label has a translation."""
        return frozenset(language for label in self.labels for language in label.translations)

    @cached_property
    def names_in_any_language(self) -> Mapping[str, str]:
        """Case-folded name or translation -> the label's name. A translation that several labels share stands
        for none of them, and a name takes precedence over a translation."""
        labels_of: dict[str, set[str]] = {}
        for label in self.labels:
            for word in label.translations.values():
                labels_of.setdefault(word.casefold(), set()).add(label.name)
        of_one = {word: min(names) for word, names in labels_of.items() if len(names) == 1}
        return of_one | {name.casefold(): name for name in self.names}

    @cached_property
    def absences(self) -> tuple[int, ...]:
        """Rows of the labels that name something absent."""
        return tuple(row for row, label in enumerate(self.labels) if names_an_absence(label))

    @cached_property
    def own_thresholds(self) -> Mapping[int, float]:
        """The thresholds of the labels that have their own, by row."""
        return {row: label.threshold for row, label in enumerate(self.labels) if label.threshold is not None}

    @property
    def goal(self) -> EverydayGoal | None:
        """The target from which thresholds follow, if there is one."""
        if self.precision is not None:
            return TargetPrecision(self.precision)
        return None if self.recall is None else TargetRecall(self.recall)

    @property
    def settings(self) -> dict[str, float]:
        """The fields that apply to all labels, by name, if they are set."""
        given = {name: getattr(self, name) for name in SETTINGS}
        return {name: value for name, value in given.items() if value is not None}

    def canonical_json(self, fields: set[str] | None = None) -> str:
        """The labels as a JSON list in ASCII, which is the same for equal labels in all releases: of each
        label, the fields that differ from their default. Without `fields` all of them; if the vocabulary has
        settings, an object of these and of `labels`."""
        content: object = [
            label.model_dump(mode="json", exclude_defaults=True, include=fields) for label in self.labels
        ]
        if fields is None and self.settings:
            content = {"labels": content, **self.settings}
        return json.dumps(content, sort_keys=True, separators=(",", ":"))

    @cached_property
    def content_hash(self) -> str:
        """SHA-256 of the canonical JSON, as "sha256:" and hex digits. The vocabulary's own name, defaults and
        translations, which only rename tags in answers, do not count: equal labels have equal hashes, also
        after fields or languages are added."""
        kept = [_with_english_alone(label) for label in self.labels]
        return _hash(self.model_copy(update={"labels": tuple(kept)}).canonical_json())

    @cached_property
    def texts_hash(self) -> str:
        """The same hash over the fields that the text tower sees: equal hashes mean equal label features, and
        a new threshold or parent does not change it. For bare names it equals the `content_hash`."""
        if "en" not in self.languages:
            return _hash(self.canonical_json(_TEXTS))
        seen = [label.model_copy(update={"name": label.english}) for label in self.labels]
        return _hash(self.model_copy(update={"labels": tuple(seen)}).canonical_json(_TEXTS))

    @cached_property
    def hierarchy(self) -> Hierarchy:
        """The relations between the labels."""
        return Hierarchy(self.labels)

    @classmethod
    def from_names(cls, names: Sequence[str], name: str = "labels") -> "Vocabulary":
        """A vocabulary of bare names. Raises VocabularyError."""
        if isinstance(names, str):
            raise VocabularyError(f"labels are a list of names, not one text: write [{names!r}]")
        return cls._checked({"name": name, "labels": list(names)})

    @classmethod
    def from_json(cls, text: str, name: str = "labels") -> "Vocabulary":
        """Reads `{"name": ..., "labels": [...]}`, optionally with `precision` or `recall`, or a bare list; a
        label is a name or an object with `Label`'s fields. `name` is used if the text has none; fields that a
        registry adds are ignored. Raises VocabularyError."""
        try:
            content = loads(text)
        except ValueError as error:
            raise VocabularyError(f"the vocabulary is not valid JSON ({error}): correct it") from error
        if isinstance(content, list):
            content = {"labels": content}
        if not isinstance(content, dict):
            raise VocabularyError(
                'a vocabulary is a JSON object {"name": ..., "labels": [...]} or a list of names'
            )
        own = {key: value for key, value in content.items() if key not in _ADDED_BY_REGISTRIES}
        return cls._checked({"name": name, **own})

    @classmethod
    def load(cls, path: Path | str) -> "Vocabulary":
        """Reads a JSON vocabulary (see `from_json`), a table, Open Images' class file, or plain text with one
        label per line (see `read_labels`), in UTF-8. A vocabulary without a name gets the file's stem. Raises
        VocabularyError."""
        path = Path(path)
        try:
            with path.open("rb") as file:
                content = file.read(MAX_FILE_BYTES + 1)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise VocabularyError(f"cannot read the vocabulary {path}: {reason}") from error
        if len(content) > MAX_FILE_BYTES:
            raise VocabularyError(f"{path} is larger than {MAX_FILE_BYTES >> 20} MiB: is it a vocabulary?")
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise VocabularyError(
                f"{path} is not UTF-8 text: is it a vocabulary? Save it as UTF-8"
            ) from error
        name = path.stem[:MAX_NAME_LENGTH]
        try:
            if path.suffix.lower() == ".json" or text.lstrip().startswith(("{", "[")):
                return cls.from_json(text, name)
            return cls._checked({"name": name, "labels": read_labels(text, path.suffix.lower())})
        except ValueError as error:
            raise VocabularyError(f"{path}: {error}") from error

    @classmethod
    def _checked(cls, content: dict[str, Any]) -> "Vocabulary":
        try:
            return cls.model_validate(refuse_unknown_fields(content, cls.model_fields))
        except PydanticCustomError as error:
            raise VocabularyError(str(error)) from error
        except ValidationError as error:
            raise VocabularyError(_describe(error)) from error


def _with_english_alone(label: Label) -> Label:
    """The label with the one translation that the text tower sees."""
    seen = {language: word for language, word in label.translations.items() if language == "en"}
    return label.model_copy(update={"translations": seen})


def _hash(text: str) -> str:
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def _describe(error: ValidationError) -> str:
    """The first problem in words; our own checks raise complete sentences, and pydantic's messages get the
    field's name."""
    first = error.errors(include_url=False)[0]
    own = first.get("ctx", {}).get("error")
    if isinstance(own, ValueError):
        return str(own)
    place = ".".join(str(part) for part in first["loc"])
    return f"`{place}`: {first['msg'][:1].lower()}{first['msg'][1:]}"
