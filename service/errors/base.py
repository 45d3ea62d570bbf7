"""The base class of all errors. Imports nothing heavy, because every command imports it."""

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from sigrl.service.errors.problem import Problem


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

    def problem(self) -> "Problem":
        """The error in the form in which it is sent to the client."""
        from sigrl.service.errors.problem import Problem

        return Problem(
            type=f"urn:sigrl:problem:{self.code}",
            title=self.title,
            status=self.status,
            detail=self.detail,
            hint=self.hint,
        )
