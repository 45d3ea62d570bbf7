"""Requests and answers about which photographs to label next."""

from typing import Annotated

from pydantic import Field

from sigrl.service.schemas.base import Received, Schema
from sigrl.service.schemas.tagging import VocabularyInfo
from sigrl.service.schemas.tags import FailedImage

MAX_SUGGESTED = 200
SUGGESTED = 40
"""How many photographs are suggested by default: enough to gain most, and labelled in ten minutes."""

Finite = Annotated[float, Field(allow_inf_nan=False)]


class Candidate(Schema):
    """A photograph that could be labelled."""

    filename: str | None
    """Name of the uploaded file; null for a raw body."""
    status: int = 200
    """Always 200; failed photographs have another status."""
    embedding: tuple[float, ...]
    """A unit vector, as of POST /v1/embeddings."""
    doubt: float
    """How uncertain the vocabulary's labels are on this photograph, from 0: the sum of their entropies."""
    likely: tuple[str, ...]
    """The thirty most probable labels, the most probable one first."""


class CandidatesAnswer(Schema):
    """Photographs that could be labelled, weighed by one checkpoint for one vocabulary."""

    checkpoint: str
    """Id of the checkpoint. Candidates of two checkpoints cannot be compared."""
    vocabulary: VocabularyInfo
    """The vocabulary."""
    images: tuple[Candidate | FailedImage, ...]
    """One per photograph, in the order of the request."""


class SuggestionRequest(Received):
    """Candidates to choose from."""

    embeddings: Annotated[
        tuple[Annotated[tuple[Finite, ...], Field(min_length=1, max_length=8192, fail_fast=True)], ...],
        Field(min_length=1, max_length=20_000, fail_fast=True),
    ]
    """The `embedding` of each candidate."""
    doubts: Annotated[
        tuple[Annotated[Finite, Field(ge=0)], ...], Field(min_length=1, max_length=20_000, fail_fast=True)
    ]
    """The `doubt` of each candidate, in the same order."""
    count: Annotated[int, Field(ge=1, le=MAX_SUGGESTED)] = SUGGESTED
    """How many to choose at most."""


class Suggestion(Schema):
    """The photographs whose labelling teaches the vocabulary most."""

    suggested: tuple[int, ...]
    """Positions among the candidates, in the order in which they should be labelled. Fewer than asked for if
    there are fewer candidates, or if the rest are copies of these."""
