"""If-Match and If-None-Match (RFC 9110, section 13): a change fails if it would undo another client's."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from sigrl.service.errors import ParameterError, PreconditionError

_TAG = r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"'
_LIST = re.compile(rf"\*|{_TAG}(?:\s*,\s*{_TAG})*")


@dataclass(frozen=True)
class Preconditions:
    """The state in which a client expects a resource."""

    if_match: tuple[str, ...] | None = None
    """Entity tags with their quotes, or `*`; None if the client sent no such header."""
    if_none_match: tuple[str, ...] | None = None
    """The same for If-None-Match."""

    @classmethod
    def of(cls, headers: Mapping[str, str]) -> "Preconditions":
        """Reads the preconditions from a request's headers. Raises ParameterError."""
        return cls(_tags(headers, "If-Match"), _tags(headers, "If-None-Match"))

    def check(self, etag: str | None) -> None:
        """Raises PreconditionError if a resource with this tag must not be changed. None means that the
        resource does not exist."""
        if self.if_match is not None and (etag is None or not {"*", etag}.intersection(self.if_match)):
            what = "there is none" if etag is None else f"its ETag is now {etag}"
            raise PreconditionError(
                f"If-Match demands {', '.join(self.if_match)[:80]}, and {what}",
                "get the newest version, and repeat the change",
            )
        if self.unchanged(etag):
            raise PreconditionError(
                "If-None-Match requires that the vocabulary does not exist, but it does",
                f"send its ETag in If-Match to change it: {etag}",
            )

    def unchanged(self, etag: str | None) -> bool:
        """Whether the client already has the resource with this tag."""
        if self.if_none_match is None or etag is None:
            return False
        return bool({"*", etag}.intersection(tag.removeprefix("W/") for tag in self.if_none_match))


def _tags(headers: Mapping[str, str], name: str) -> tuple[str, ...] | None:
    text = headers.get(name)
    if text is None:
        return None
    if not _LIST.fullmatch(text.strip()):
        raise ParameterError(f"{name} is {text[:40]!r}", 'send the ETag with its quotes: "3-09de08a4"')
    return tuple(re.findall(rf"\*|{_TAG}", text)) if text.strip() != "*" else ("*",)
