"""If-Match and If-None-Match (RFC 9110, section 13): changes that go wrong rather than undo another's."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from sigrl.service.errors import ParameterError, PreconditionError

_TAG = r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"'
_LIST = re.compile(rf"\*|{_TAG}(?:\s*,\s*{_TAG})*")


@dataclass(frozen=True)
class Preconditions:
    """What a client knows, or thinks it knows, of a resource."""

    if_match: tuple[str, ...] | None = None
    """Entity tags with their quotes, or `*`; None: nothing is demanded."""
    if_none_match: tuple[str, ...] | None = None
    """The same."""

    @classmethod
    def of(cls, headers: Mapping[str, str]) -> "Preconditions":
        """As a request's headers tell. Raises ParameterError."""
        return cls(_tags(headers, "If-Match"), _tags(headers, "If-None-Match"))

    def check(self, etag: str | None) -> None:
        """Before a change of what has this tag, or of what does not exist: None. Raises PreconditionError."""
        if self.if_match is not None and (etag is None or not {"*", etag}.intersection(self.if_match)):
            what = "there is none" if etag is None else f"it is {etag} by now"
            raise PreconditionError(
                f"If-Match demands {', '.join(self.if_match)}, and {what}",
                "get it anew, and repeat the change",
            )
        if self.unchanged(etag):
            raise PreconditionError(
                "If-None-Match demands that it is not there, and it is",
                f"get it, and send its tag in If-Match to change it: it is {etag}",
            )

    def unchanged(self, etag: str | None) -> bool:
        """Whether the client has what has this tag already."""
        if self.if_none_match is None or etag is None:
            return False
        return bool({"*", etag}.intersection(tag.removeprefix("W/") for tag in self.if_none_match))


def _tags(headers: Mapping[str, str], name: str) -> tuple[str, ...] | None:
    text = headers.get(name)
    if text is None:
        return None
    if not _LIST.fullmatch(text.strip()):
        raise ParameterError(
            f"{name} is {text[:40]!r}", 'send an ETag as it came, in its quotes: "3-09de08a4"'
        )
    return tuple(re.findall(rf"\*|{_TAG}", text)) if text.strip() != "*" else ("*",)
