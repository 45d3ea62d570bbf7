"""Responses with embeddings."""

from sigrl.service.schemas.base import Schema
from sigrl.service.schemas.tags import FailedImage


class ImageEmbedding(Schema):
    """The embedding of a photograph."""

    filename: str | None
    """As uploaded; null for a raw body."""
    status: int = 200
    """Always 200; failed photographs have another status."""
    embedding: tuple[float, ...]
    """A unit vector."""


class LabelEmbedding(Schema):
    """The embedding of a label."""

    label: str
    """Name of the label."""
    embedding: tuple[float, ...]
    """A unit vector."""


class EmbeddingsAnswer(Schema):
    """Embeddings from one checkpoint; they cannot be compared with those of another."""

    checkpoint: str
    """Id of the checkpoint."""
    images: tuple[ImageEmbedding | FailedImage, ...] = ()
    """One per photograph, in the order of the request."""
    labels: tuple[LabelEmbedding, ...] = ()
    """One per label, in the order of the request."""
