"""Responses with tags."""

from sigrl.service.errors.problem import Problem
from sigrl.service.schemas.base import Schema
from sigrl.service.schemas.tagging import LabelWarning, Tag, VocabularyUsed


class Shown(Schema):
    """The tags of a photograph."""

    tags: tuple[Tag, ...]
    """In order of decreasing probability; empty if no label reaches its threshold."""
    implied: tuple[Tag, ...] = ()
    """If the request names neither labels nor a vocabulary: accepted labels that a narrower accepted label
    implies."""
    guesses: tuple[Tag, ...] = ()
    """The three most probable labels if none is accepted and the request sets no number of tags."""


class TaggedImage(Shown):
    """A photograph and its tags."""

    filename: str | None
    """Name of the uploaded file; null for a raw body."""
    status: int = 200
    """Always 200; failed photographs have another status."""


class VocabularyTags(Shown):
    """A photograph's tags from one of several vocabularies."""

    vocabulary: str
    """The vocabulary's name."""


class ImageTaggedBySeveral(Schema):
    """A photograph and its tags from several vocabularies."""

    filename: str | None
    """Name of the uploaded file; null for a raw body."""
    status: int = 200
    """Always 200; failed photographs have another status."""
    results: tuple[VocabularyTags, ...]
    """One per vocabulary, in the order of the request."""


class FailedImage(Schema):
    """One of several photographs that could not be tagged."""

    filename: str | None
    """Name of the uploaded file."""
    status: int
    """The HTTP status of a request with this photograph alone."""
    error: Problem
    """The error."""


class TagAnswer(Schema):
    """The response to one request, made by one checkpoint with one vocabulary."""

    checkpoint: str
    """Id of the checkpoint."""
    vocabulary: VocabularyUsed
    """The vocabulary that was used."""
    warnings: tuple[LabelWarning, ...] = ()
    """Those of the caller's labels that the checkpoint cannot judge."""
    images: tuple[TaggedImage | FailedImage, ...]
    """One per photograph, in the order of the request."""


class TagAnswerBySeveral(Schema):
    """The response to a request with several vocabularies, made in one pass of the model."""

    checkpoint: str
    """Id of the checkpoint."""
    vocabularies: tuple[VocabularyUsed, ...]
    """The vocabularies that were used, in the order of the request."""
    warnings: tuple[tuple[LabelWarning, ...], ...] = ()
    """For each vocabulary, in the same order, the labels that the checkpoint cannot judge."""
    images: tuple[ImageTaggedBySeveral | FailedImage, ...]
    """One per photograph, in the order of the request."""


class TagLine(Schema):
    """One line of a streamed response; each photograph gets a line as soon as it is tagged."""

    index: int
    """The photograph's position in the request, from 0."""
    checkpoint: str
    """Id of the checkpoint, the same in every line."""
    vocabulary: VocabularyUsed
    """The vocabulary that was used, the same in every line."""
    warnings: tuple[LabelWarning, ...] = ()
    """Labels that the checkpoint cannot judge, the same in every line."""
    image: TaggedImage | FailedImage
    """As in a response that is not streamed."""


class TagLineBySeveral(Schema):
    """One line of a streamed response to a request with several vocabularies."""

    index: int
    """The photograph's position in the request, from 0."""
    checkpoint: str
    """Id of the checkpoint, the same in every line."""
    vocabularies: tuple[VocabularyUsed, ...]
    """The vocabularies that were used, the same in every line."""
    warnings: tuple[tuple[LabelWarning, ...], ...] = ()
    """For each vocabulary, the labels that the checkpoint cannot judge; the same in every line."""
    image: ImageTaggedBySeveral | FailedImage
    """As in a response that is not streamed."""
