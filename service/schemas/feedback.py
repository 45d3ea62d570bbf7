"""Responses about feedback."""

from sigrl.service.schemas.base import Schema


class FeedbackAnswer(Schema):
    """All feedback on one photograph."""

    photograph: str
    """Id of the photograph: the SHA-256 of the uploaded file."""
    right: tuple[str, ...]
    """Tags that were reported as right."""
    wrong: tuple[str, ...]
    """Tags that were reported as wrong."""


class TagCounts(Schema):
    """Feedback on one tag."""

    tag: str
    right: int
    """Photographs for which it was reported as right."""
    wrong: int
    """Photographs for which it was reported as wrong."""


class FeedbackSummary(Schema):
    """How much feedback is stored."""

    photographs: int
    bytes: int
    """Size of the stored copies of photographs."""
    max_bytes: int
    """Largest allowed size; 0 if feedback is turned off."""
    tags: tuple[TagCounts, ...]
    """Sorted by name."""
