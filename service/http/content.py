"""Reads a request's content type, Accept headers and JSON body."""

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


def accepted_languages(request: Request) -> tuple[str, ...]:
    """The languages that Accept-Language names, best first; `*` and what does not exist are left out."""
    named: list[tuple[float, str]] = []
    for each in ",".join(request.headers.getlist("accept-language")).split(","):
        tag, _, parameter = each.partition(";")
        try:
            weight = float(parameter.strip().removeprefix("q=") or 1)
        except ValueError:
            continue
        if weight > 0 and (tag := tag.strip()) not in ("", "*"):
            named.append((weight, tag))
    # Sorting is stable: languages of the same weight keep their order.
    return tuple(tag for _, tag in sorted(named, key=lambda pair: -pair[0]))


async def read_json(request: Request) -> bytes:
    """The body without a byte-order mark, which Windows editors write and JSON does not allow."""
    return (await request.body()).removeprefix(_BYTE_ORDER_MARK)


def _without_parameters(text: str) -> str:
    return text.partition(";")[0].strip().lower()
