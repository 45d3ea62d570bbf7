"""Labels in the user's own words, and the vocabulary that holds them. Imports without torch."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, ValidationError, model_validator

from sigrl.model.config import Frozen
from sigrl.model.hierarchy import Hierarchy
from sigrl.model.label_calibration import EverydayGoal, TargetPrecision, TargetRecall
from sigrl.model.label_lists import read_labels
from sigrl.model.label_warnings import names_an_absence
from sigrl.model.words import MAX_NAME_LENGTH, Language, Name, Prompt

MAX_LABELS = 20_000
MAX_FILE_BYTES = 32 * 1024 * 1024

_ADDED_BY_REGISTRIES = frozenset({"hash", "size", "built_in", "created", "calibration", "calibrated"})


class VocabularyError(ValueError):
    """A vocabulary or a label that cannot be used; the message says which and what to do."""


def _accept_bare_name(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


Share = Annotated[float, Field(gt=0.0, lt=1.0)]
SETTINGS = ("precision", "recall")
"""What a vocabulary says of all its labels."""


class Label(Frozen):
    """One thing to look for."""

    name: Name
    """What the answer calls it; trimmed, inner whitespace collapsed, at most 200 characters."""
    synonyms: Annotated[tuple[Name, ...], Field(max_length=32)] = ()
    """Other words for the same thing; their features are averaged with the name's."""
    prompts: Annotated[tuple[Prompt, ...], Field(max_length=32)] = ()
    """Whole texts that replace the checkpoint's templates; `{label}` stands for the name or a synonym."""
    description: str = Field(default="", max_length=2000)
    """For human readers; no text tower sees it."""
    parent: Name | None = None
    """Name of the broader label in the same vocabulary: where this one is present, that one is too."""
    exclusive_group: Name | None = None
    """Labels under one parent that give the same group exclude each other: at most one is present."""
    threshold: float | None = Field(default=None, ge=0.0, le=1.0)
    """Probability from which on the label counts as present; None leaves it to the request or checkpoint."""
    translations: Annotated[Mapping[Language, Name], Field(max_length=64)] = {}
    """The name in other languages by BCP 47 tag, `{"de": "Hund"}`: for answers, no text tower sees it."""

    def texts(self, templates: Sequence[str]) -> tuple[str, ...]:
        """The texts whose features make up this label: every prompt, or else every template, filled with the
        name and each synonym in turn; duplicates dropped, order kept."""
        words = (self.name, *self.synonyms)
        # str.replace and not str.format: prompts come from users, and format fields reach into attributes.
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
    """Labels that are asked for together, in the order in which scores are given.

    Built by hand it raises pydantic's ValidationError; `from_names`, `from_json` and `load`, which see what
    users wrote, raise `VocabularyError`. Both are ValueErrors.
    """

    name: Name = "labels"
    """What the answer calls the vocabulary."""
    version: int | None = Field(default=None, ge=1)
    """Which of a registry's versions of that name this is; None: it is from no registry."""
    calibration: int | None = Field(default=None, ge=1)
    """Which of a registry's calibrations by examples holds for this name; None: it has none."""
    calibrated: datetime | None = Field(default=None, exclude=True)
    """When that calibration was made: after a restore of the database another one may get its number."""
    labels: Annotated[
        tuple[Annotated[Label, BeforeValidator(_accept_bare_name)], ...],
        # Before each of them is looked at, and each found wrong.
        BeforeValidator(_refuse_too_many),
    ]
    """1 to 20,000; names differ after case folding. A bare string is a label of that name."""
    precision: Share | None = None
    """Of photographs that get a label, the share that shall show it: thresholds follow from it where a
    request sets none and the label has none of its own."""
    recall: Share | None = None
    """In place of `precision`: of photographs that show a label, the share that shall get it."""

    @model_validator(mode="after")
    def _check_goal(self) -> "Vocabulary":
        if self.precision is not None and self.recall is not None:
            raise ValueError("the vocabulary gives both a precision and a recall: leave one of them out")
        return self

    @model_validator(mode="after")
    def _check_labels(self) -> "Vocabulary":
        if not self.labels:
            raise ValueError("there is no label: name at least one thing to look for")
        _refuse_duplicates(self.labels)
        # Here and not on first use: what is wrong with it should be told at once.
        _ = self.hierarchy
        return self

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The labels' names, in order."""
        return tuple(label.name for label in self.labels)

    @cached_property
    def absences(self) -> tuple[int, ...]:
        """Rows of the labels that name what is not there."""
        return tuple(row for row, label in enumerate(self.labels) if names_an_absence(label))

    @property
    def goal(self) -> EverydayGoal | None:
        """What the thresholds follow from, if it is said."""
        if self.precision is not None:
            return TargetPrecision(self.precision)
        return None if self.recall is None else TargetRecall(self.recall)

    @property
    def settings(self) -> dict[str, float]:
        """What it says of all its labels, by the field's name."""
        given = {name: getattr(self, name) for name in SETTINGS}
        return {name: value for name, value in given.items() if value is not None}

    def canonical_json(self, fields: set[str] | None = None) -> str:
        """The labels as a JSON list in ASCII, the same for equal labels in all releases: of each label those
        fields that are not at their default. Without `fields` all of them, and where the vocabulary has
        settings an object of these and of `labels`."""
        content: object = [
            label.model_dump(mode="json", exclude_defaults=True, include=fields) for label in self.labels
        ]
        if fields is None and self.settings:
            content = {"labels": content, **self.settings}
        return json.dumps(content, sort_keys=True, separators=(",", ":"))

    @cached_property
    def content_hash(self) -> str:
        """SHA-256 of the canonical JSON, as "sha256:" and hex digits.

        The vocabulary's own name is not part of it, nor are fields left at their defaults: equal labels give
        equal hashes, today and after new fields.
        """
        return _hash(self.canonical_json())

    @cached_property
    def texts_hash(self) -> str:
        """The same over what a text tower sees of the labels, so that a new threshold or parent leaves it as
        it is: equal hashes, equal label features. Of bare names it is the `content_hash`."""
        return _hash(self.canonical_json({"name", "synonyms", "prompts"}))

    @cached_property
    def hierarchy(self) -> Hierarchy:
        """What the labels say of one another."""
        return Hierarchy(self.labels)

    @classmethod
    def from_names(cls, names: Sequence[str], name: str = "labels") -> "Vocabulary":
        """A vocabulary of bare names. Raises VocabularyError."""
        if isinstance(names, str):
            raise VocabularyError(f"labels are a list of names, not one text: write [{names!r}]")
        return cls._checked({"name": name, "labels": list(names)})

    @classmethod
    def from_json(cls, text: str, name: str = "labels") -> "Vocabulary":
        """From `{"name": ..., "labels": [...]}`, with `precision` or `recall` or without, or a bare list; a
        label is a name or an object of `Label`'s fields. `name` is used where the text gives none; what a
        registry adds to a vocabulary is passed over. Raises VocabularyError."""
        try:
            content = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise VocabularyError(f"the vocabulary is not valid JSON ({error}): mend it") from error
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
        label a line (see `read_labels`). UTF-8. A file that names no vocabulary is called by its stem. Raises
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
            return cls.model_validate(content)
        except ValidationError as error:
            raise VocabularyError(_describe(error)) from error


def _hash(text: str) -> str:
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def _describe(error: ValidationError) -> str:
    """The first problem, in words; our own checks are sentences already, pydantic's get their place named."""
    first = error.errors(include_url=False)[0]
    own = first.get("ctx", {}).get("error")
    if isinstance(own, ValueError):
        return str(own)
    place = ".".join(str(part) for part in first["loc"])
    return f"`{place}`: {first['msg'][:1].lower()}{first['msg'][1:]}"
