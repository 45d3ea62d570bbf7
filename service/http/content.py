"""Reads a request's content type, Accept header and JSON body."""

from starlette.requests import Request

JSON = "application/json"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def media_type(request: Request) -> str:
    """The body's media type in lower case, without parameters; empty if the request has no Content-Type."""
    return _without_parameters(request.headers.get("content-type", ""))


def accepts(request: Request, kind: str) -> bool:
    """Whether Accept names exactly this media type; `*/*` does not count."""
    accepted = ",".join(request.headers.getlist("accept"))
    return kind in map(_without_parameters, accepted.split(","))


async def read_json(request: Request) -> bytes:
    """The body without a byte-order mark, which Windows editors write and JSON does not allow."""
    return (await request.body()).removeprefix(_BYTE_ORDER_MARK)


def _without_parameters(text: str) -> str:
    return text.partition(";")[0].strip().lower()
