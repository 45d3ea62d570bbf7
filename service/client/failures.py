"""Turns a server's problem documents back into the errors that caused them."""

from collections.abc import Iterator

import httpx
from pydantic import ValidationError

from sigrl.service.errors import (
    DriftError,
    NotReadyError,
    OverloadedError,
    ServerError,
    TaggerError,
    UnreachableError,
)
from sigrl.service.errors.problem import DriftProblem, Problem

_URN = "urn:sigrl:problem:"
# For responses of a proxy, which are not problem documents.
_BY_STATUS: dict[int, type[TaggerError]] = {429: OverloadedError, 503: NotReadyError}
_NO_SERVER_HINT = "start it with `sigrl serve`, or give its address with --server or SIGRL_SERVER"


def failure(response: httpx.Response) -> TaggerError:
    """The error that a response reports, with its Retry-After in seconds. The body must have been read."""
    after = response.headers.get("retry-after", "")
    seconds = int(after) if after.isascii() and after.isdigit() else None
    try:
        problem = Problem.model_validate_json(response.content)
        if problem.type == _URN + DriftError.code:
            told = DriftProblem.model_validate_json(response.content)
            return DriftError(told.detail, told.hint, told.drift)
    except ValidationError:
        kind = _BY_STATUS.get(response.status_code, ServerError)
        where = f"{response.url.scheme}://{response.url.netloc.decode()}"
        detail = f"the response from {where} is not from a sigrl server (status {response.status_code})"
        return kind(detail, "check the address", retry_after=seconds)
    return of_problem(problem, seconds)


def of_problem(problem: Problem, retry_after: int | None = None) -> TaggerError:
    """The error that a problem describes; ServerError if this release does not know its type."""
    code = problem.type.removeprefix(_URN)
    kind = next((each for each in _kinds(TaggerError) if getattr(each, "code", None) == code), ServerError)
    return kind(problem.detail, problem.hint, retry_after=retry_after)


def unreachable(server: str, error: Exception) -> UnreachableError:
    """The error for a server that cannot be reached or that closes the connection during its response."""
    why = str(error) or type(error).__name__
    return UnreachableError(f"the server {server} does not answer: {why}", _NO_SERVER_HINT)


def _kinds(base: type[TaggerError]) -> Iterator[type[TaggerError]]:
    for kind in base.__subclasses__():
        yield kind
        yield from _kinds(kind)
