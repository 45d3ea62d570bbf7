"""Answers about vocabularies."""

from datetime import datetime

from pydantic import Field

from sigrl.model.vocabulary import Label, Share
from sigrl.service.schemas.base import Schema
from sigrl.service.schemas.tagging import VocabularyInfo


class VocabularySummary(VocabularyInfo):
    """One version of a vocabulary, without its labels."""

    built_in: bool
    """Whether it ships with the package; such a one cannot be changed."""
    created: datetime | None
    """When this version was registered; null for what ships with the package."""


class VocabularyDocument(VocabularySummary):
    """A vocabulary with its labels. PUT takes it as it is, and lets the other fields be."""

    labels: tuple[Label, ...]
    """In order; of each label what is not at its default."""
    precision: Share | None = None
    """Of photographs that get a label, the share that shall show it; not there where it is not set."""
    recall: Share | None = None
    """Of photographs that show a label, the share that shall get it; not there where it is not set."""


class VocabularyPage(Schema):
    """Vocabularies that a request may name: those of the package first, the others by name."""

    vocabularies: tuple[VocabularySummary, ...]
    """In their newest versions."""
    next: str | None = Field(examples=["/v1/vocabularies?after=pets&limit=100"])
    """Where the list goes on; null at its end."""


class VersionPage(Schema):
    """The versions of a vocabulary, newest first; the last hundred are kept."""

    versions: tuple[VocabularySummary, ...]
    """Newest first."""
    next: str | None = Field(examples=["/v1/vocabularies/pets/versions?before=12&limit=100"])
    """Where the list goes on; null at its end."""
