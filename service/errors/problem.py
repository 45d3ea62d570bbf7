"""The wire form of an error: an RFC 9457 problem with a hint. It is apart from the errors themselves so that
importing these does not import pydantic, which `sigrl --help` would wait for."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class Problem(BaseModel):
    """An RFC 9457 problem with a hint that says what to do."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    type: str = Field(examples=["urn:sigrl:problem:damaged-image"])
    """One URN per cause. Programs should compare this field."""
    title: str
    """The cause in words. It is the same for every occurrence."""
    status: int
    """HTTP status."""
    detail: str
    """What happened this time."""
    hint: str
    """What to do about it."""


class DriftProblem(Problem):
    """A problem that includes the drift report."""

    drift: dict[str, Any]
    """The report, as GET /v1/checkpoints/{id}/drift returns it."""
