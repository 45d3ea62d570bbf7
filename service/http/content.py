"""Reads a request's content type, Accept headers and JSON body."""

from typing import Any, TypeVar

from anyio import to_thread
from pydantic import BaseModel, ValidationError
from starlette.requests import Request

from sigrl.model.bounded_json import check_size
from sigrl.service.errors import ContentTypeError, RequestError

Body = TypeVar("Body", bound=BaseModel)

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


async def read_json_as(request: Request, kind: type[Body], hint: str) -> Body:
    """The JSON body as a model. Raises ContentTypeError and RequestError, both with `hint`."""
    content_type = media_type(request)
    if content_type not in (JSON, ""):
        raise ContentTypeError(f"the body is {content_type[:80]}, not {JSON}", hint)
    # Parsed in a thread, because a body with photographs would block every other request.
    return await to_thread.run_sync(parse_json_as, kind, await read_json(request), hint)


def parse_json_as(kind: type[Body], body: bytes, hint: str) -> Body:
    """Parses and validates a JSON body. Raises RequestError."""
    try:
        check_size(body)
    except ValueError as error:
        raise RequestError(f"the body cannot be used: {error}", hint) from error
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        raise RequestError(f"the body cannot be used: {first_fault(error)}", hint) from error


def first_fault(error: ValidationError) -> str:
    """The first thing that is wrong with a body, with its place in it."""
    first: Any = error.errors(include_url=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    return f"{place}: {first['msg'].lower()}" if place else str(first["msg"]).lower()


def _without_parameters(text: str) -> str:
    return text.partition(";")[0].strip().lower()
