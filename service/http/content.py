"""What a request says of its content, and what it accepts."""

from starlette.requests import Request

JSON = "application/json"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def media_type(request: Request) -> str:
    """The body's type in lower case, without parameters; empty where the request does not say."""
    return _without_parameters(request.headers.get("content-type", ""))


def accepts(request: Request, kind: str) -> bool:
    """Whether the request names this very type in Accept; `*/*` does not count."""
    accepted = ",".join(request.headers.getlist("accept"))
    return kind in map(_without_parameters, accepted.split(","))


async def read_json(request: Request) -> bytes:
    """The body without a byte-order mark, which editors on Windows write and JSON does not know."""
    return (await request.body()).removeprefix(_BYTE_ORDER_MARK)


def _without_parameters(text: str) -> str:
    return text.partition(";")[0].strip().lower()
