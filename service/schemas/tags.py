"""Answers with tags."""

from sigrl.service.errors import Problem
from sigrl.service.schemas.base import Schema
from sigrl.service.schemas.tagging import LabelWarning, Tag, VocabularyInfo


class Shown(Schema):
    """What is found on a photograph."""

    tags: tuple[Tag, ...]
    """Best first; empty when nothing reaches its threshold."""
    implied: tuple[Tag, ...] = ()
    """Where neither labels nor a vocabulary were named: accepted labels with a narrower one among the
    accepted, which says more."""
    guesses: tuple[Tag, ...] = ()
    """Where no label is accepted and no number of tags was asked for: the three most probable ones."""


class TaggedImage(Shown):
    """A photograph with its tags."""

    filename: str | None
    """As uploaded; null for a raw body."""
    status: int = 200
    """200."""


class VocabularyTags(Shown):
    """A photograph's tags from one of several vocabularies."""

    vocabulary: str
    """The vocabulary's name."""


class ImageTaggedBySeveral(Schema):
    """A photograph with its tags from several vocabularies."""

    filename: str | None
    """As uploaded; null for a raw body."""
    status: int = 200
    """200."""
    results: tuple[VocabularyTags, ...]
    """One per vocabulary, in the order of the request."""


class FailedImage(Schema):
    """A photograph among several that could not be tagged."""

    filename: str | None
    """As uploaded."""
    status: int
    """The status that the photograph would have had alone."""
    error: Problem
    """Why."""


class TagAnswer(Schema):
    """The answer to one request; all of it was made by one checkpoint with one vocabulary."""

    checkpoint: str
    """Id of the checkpoint."""
    vocabulary: VocabularyInfo
    """The labels that were looked for."""
    warnings: tuple[LabelWarning, ...] = ()
    """Labels that the checkpoint cannot judge, of those that the caller gave."""
    images: tuple[TaggedImage | FailedImage, ...]
    """One per photograph, in the order of the request."""


class TagAnswerBySeveral(Schema):
    """The same where several vocabularies were asked for, in one pass of the model."""

    checkpoint: str
    """Id of the checkpoint."""
    vocabularies: tuple[VocabularyInfo, ...]
    """The labels that were looked for, in the order of the request."""
    warnings: tuple[tuple[LabelWarning, ...], ...] = ()
    """Of each vocabulary the labels that the checkpoint cannot judge, in the same order."""
    images: tuple[ImageTaggedBySeveral | FailedImage, ...]
    """One per photograph, in the order of the request."""


class TagLine(Schema):
    """A line of an answer that comes as photographs finish."""

    index: int
    """The photograph's place in the request, from 0."""
    checkpoint: str
    """Id of the checkpoint, the same in every line."""
    vocabulary: VocabularyInfo
    """The labels that were looked for, the same in every line."""
    warnings: tuple[LabelWarning, ...] = ()
    """Labels that the checkpoint cannot judge, the same in every line."""
    image: TaggedImage | FailedImage
    """As in an answer that comes at once."""


class TagLineBySeveral(Schema):
    """The same where several vocabularies were asked for."""

    index: int
    """The photograph's place in the request, from 0."""
    checkpoint: str
    """Id of the checkpoint, the same in every line."""
    vocabularies: tuple[VocabularyInfo, ...]
    """The labels that were looked for, the same in every line."""
    warnings: tuple[tuple[LabelWarning, ...], ...] = ()
    """Of each vocabulary the labels that the checkpoint cannot judge, the same in every line."""
    image: ImageTaggedBySeveral | FailedImage
    """As in an answer that comes at once."""
