"""Hugging Face's zero-shot image classification.

Source: the schema of `zero-shot-image-classification` in https://github.com/huggingface/huggingface.js.
"""

from typing import Annotated

from pydantic import Field

from sigrl.model.vocabulary import MAX_LABELS
from sigrl.service.schemas.base import Schema
from sigrl.service.schemas.compat.request import ForeignRequest, Photograph


class ZeroShotParameters(ForeignRequest):
    """What to look for."""

    candidate_labels: str | Annotated[tuple[str, ...], Field(min_length=1, max_length=MAX_LABELS)] = Field(
        examples=[["dog", "cat"]]
    )
    """The labels: a list, or one text with commas between them."""
    hypothesis_template: Annotated[str, Field(max_length=900, pattern=r"\{\}")] | None = None
    """A sentence with `{}` in the place of the label, used in place of the checkpoint's templates."""


class ZeroShotRequest(ForeignRequest):
    """One photograph and the labels to look for."""

    inputs: Photograph
    parameters: ZeroShotParameters


class ZeroShotScore(Schema):
    """The result of one label."""

    label: str
    score: float
    """Probability that the label applies. Labels are judged independently: the scores do not sum to 1."""
