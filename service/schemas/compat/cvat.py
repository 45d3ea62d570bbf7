"""CVAT's automatic annotation, which asks nuclio's dashboard for functions and calls them.

Sources: `cvat/apps/lambda_manager/views.py` of https://github.com/cvat-ai/cvat, and the functions below
`serverless` there.
"""

from typing import Literal

from pydantic import Field

from sigrl.service.schemas.base import Schema
from sigrl.service.schemas.compat.request import ForeignRequest, Photograph


class FunctionAnnotations(Schema):
    """What CVAT reads about a function."""

    name: str
    """Shown to people."""
    type: Literal["detector"] = "detector"
    spec: str
    """The labels, as a JSON list of objects with `id`, `name` and `type`."""


class FunctionMetadata(Schema):
    """Name and labels of a function."""

    name: str
    """Name of the vocabulary."""
    annotations: FunctionAnnotations


class FunctionSpec(Schema):
    """The description of a function."""

    description: str


class FunctionStatus(Schema):
    """The state of a function."""

    state: Literal["ready"] = "ready"


class CvatFunction(Schema):
    """A vocabulary as a function."""

    metadata: FunctionMetadata
    spec: FunctionSpec
    status: FunctionStatus = FunctionStatus()


class Invocation(ForeignRequest):
    """One frame to tag."""

    image: Photograph
    threshold: float | None = Field(default=None, ge=0, le=1)
    """Probability that a tag must reach; if not set, each label's own threshold."""


class CvatTag(Schema):
    """A tag of the frame."""

    label: str
    confidence: str
    """Its probability, as text."""
    type: Literal["tag"] = "tag"
    attributes: tuple[()] = ()
