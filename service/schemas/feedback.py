"""Answers about feedback."""

from sigrl.service.schemas.base import Schema


class FeedbackAnswer(Schema):
    """What is known of a photograph by now."""

    photograph: str
    """Its name here: SHA-256 of the file that was sent."""
    right: tuple[str, ...]
    """Tags that hold."""
    wrong: tuple[str, ...]
    """Tags that do not."""


class TagCounts(Schema):
    """What was said of one tag."""

    tag: str
    right: int
    """Photographs on which it holds."""
    wrong: int
    """Photographs on which it does not."""


class FeedbackSummary(Schema):
    """How much feedback there is."""

    photographs: int
    bytes: int
    """Of the copies that are kept."""
    max_bytes: int
    """How many there may be; 0: no feedback is taken."""
    tags: tuple[TagCounts, ...]
    """By name."""
