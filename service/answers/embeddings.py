"""Answers with vectors."""

from service.answers.tags import FailedImage
from service.results import Answer


class ImageEmbedding(Answer):
    """A photograph as a vector."""

    filename: str | None
    """As uploaded; null for a raw body."""
    status: int = 200
    """200."""
    embedding: tuple[float, ...]
    """Of length 1."""


class LabelEmbedding(Answer):
    """A label as a vector."""

    label: str
    """Its name."""
    embedding: tuple[float, ...]
    """Of length 1."""


class EmbeddingsAnswer(Answer):
    """Embeddings by one checkpoint; those of another cannot be compared with them."""

    checkpoint: str
    """Id of the checkpoint."""
    images: tuple[ImageEmbedding | FailedImage, ...] = ()
    """One per photograph, in the order of the request."""
    labels: tuple[LabelEmbedding, ...] = ()
    """One per label, in the order of the request."""
