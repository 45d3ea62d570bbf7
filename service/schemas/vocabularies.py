"""Responses about vocabularies."""

from datetime import datetime

from pydantic import Field

from sigrl.model.vocabulary import Label, Share
from sigrl.service.schemas.base import Schema
from sigrl.service.schemas.tagging import VocabularyInfo


class VocabularySummary(VocabularyInfo):
    """One version of a vocabulary, without its labels."""

    built_in: bool
    """Whether the vocabulary ships with the package; built-in vocabularies cannot be changed."""
    created: datetime | None
    """When this version was registered; null for built-in vocabularies."""


class VocabularyDocument(VocabularySummary):
    """A vocabulary with its labels. PUT accepts it unchanged and ignores the other fields."""

    labels: tuple[Label, ...]
    """The labels in order, each without the fields that have their default."""
    precision: Share | None = None
    """Of the photographs that get a label, the share that should show it; left out if not set."""
    recall: Share | None = None
    """Of the photographs that show a label, the share that should get it; left out if not set."""


class VocabularyPage(Schema):
    """Vocabularies that a request can name: first the built-in ones, then the others by name."""

    vocabularies: tuple[VocabularySummary, ...]
    """The newest version of each."""
    next: str | None = Field(examples=["/v1/vocabularies?after=pets&limit=100"])
    """Address of the next page; null on the last."""


class VersionPage(Schema):
    """The versions of a vocabulary, newest first; the last hundred are kept."""

    versions: tuple[VocabularySummary, ...]
    """Newest first."""
    next: str | None = Field(examples=["/v1/vocabularies/pets/versions?before=12&limit=100"])
    """Address of the next page; null on the last."""
