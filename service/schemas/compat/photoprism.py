"""PhotoPrism's Vision API.

Source: `internal/ai/vision/api_request.go` and `api_response.go` of https://github.com/photoprism/photoprism.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from sigrl.service.schemas.base import Schema
from sigrl.service.schemas.compat.request import ForeignRequest, Photograph


class VisionRequest(ForeignRequest):
    """One photograph, as one or several crops."""

    id: str = Field(default="", max_length=200)
    """Returned in the answer."""
    images: Annotated[tuple[Photograph, ...], Field(min_length=1)] | None = None
    """Crops of one photograph."""
    url: Photograph | None = None
    """In place of `images`."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.images is None) == (self.url is None):
            raise ValueError("a request has either images or url")
        return self

    @property
    def crops(self) -> tuple[str, ...]:
        """The crops, however they were sent."""
        return self.images or (self.url or "",)


class VisionLabel(Schema):
    """A label of the photograph."""

    name: str
    source: Literal["image"] = "image"
    """Where PhotoPrism says that the label comes from."""
    priority: int
    """Number of broader labels above it: PhotoPrism names a photograph by the label with the highest."""
    confidence: float
    """The highest probability among the crops."""
    topicality: float
    """The mean probability over all crops, where a crop without the label counts as 0."""
    categories: tuple[str, ...]
    """The broader labels, narrowest first."""


class VisionResult(Schema):
    """The labels that reach their threshold in at least one crop."""

    labels: tuple[VisionLabel, ...]
    """In order of decreasing confidence."""


class VisionModel(Schema):
    """The model that answered."""

    type: Literal["labels"] = "labels"
    name: str
    """Name of the vocabulary."""
    version: str
    """Id of the checkpoint."""


class VisionAnswer(Schema):
    """The answer to one request."""

    id: str
    code: int = 200
    """Always 200; errors have another status."""
    model: VisionModel
    result: VisionResult
