"""Answers with vectors."""

from sigrl.service.schemas.base import Schema
from sigrl.service.schemas.tags import FailedImage


class ImageEmbedding(Schema):
    """A photograph as a vector."""

    filename: str | None
    """As uploaded; null for a raw body."""
    status: int = 200
    """200."""
    embedding: tuple[float, ...]
    """Of length 1."""


class LabelEmbedding(Schema):
    """A label as a vector."""

    label: str
    """Its name."""
    embedding: tuple[float, ...]
    """Of length 1."""


class EmbeddingsAnswer(Schema):
    """Embeddings by one checkpoint; those of another cannot be compared with them."""

    checkpoint: str
    """Id of the checkpoint."""
    images: tuple[ImageEmbedding | FailedImage, ...] = ()
    """One per photograph, in the order of the request."""
    labels: tuple[LabelEmbedding, ...] = ()
    """One per label, in the order of the request."""
