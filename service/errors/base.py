"""The base class of all errors, and the mapping from errors to RFC 9457 problems."""

from typing import ClassVar

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


class TaggerError(Exception):
    """Base of all errors raised on purpose. `detail` says what happened, `hint` what to do."""

    code: ClassVar[str]
    title: ClassVar[str]
    status: ClassVar[int]

    def __init__(self, detail: str, hint: str, *, retry_after: int | None = None) -> None:
        super().__init__(f"{detail} ({hint})")
        self.detail = detail
        self.hint = hint
        self.retry_after = retry_after
        """Seconds after which the same request may succeed; None if unknown."""

    def problem(self) -> Problem:
        """The error in the form in which it is sent to the client."""
        return Problem(
            type=f"urn:sigrl:problem:{self.code}",
            title=self.title,
            status=self.status,
            detail=self.detail,
            hint=self.hint,
        )
