"""Problems as they come back from a server, as the errors that they were."""

from collections.abc import Iterator

import httpx
from pydantic import ValidationError

from sigrl.service.errors import (
    DriftError,
    DriftProblem,
    NotReadyError,
    OverloadedError,
    Problem,
    ServerError,
    TaggerError,
)

_URN = "urn:sigrl:problem:"
# What a proxy says in words of its own.
_BY_STATUS: dict[int, type[TaggerError]] = {429: OverloadedError, 503: NotReadyError}
_NO_SERVER_HINT = "start it with `sigrl serve`, or name it with --server or SIGRL_SERVER"


def failure(response: httpx.Response) -> TaggerError:
    """The error that an answer tells of, with the seconds of its Retry-After. The answer was read."""
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
        detail = f"what answers at {where} is no sigrl server (status {response.status_code})"
        return kind(detail, "check the address", retry_after=seconds)
    return of_problem(problem, seconds)


def of_problem(problem: Problem, retry_after: int | None = None) -> TaggerError:
    """The error of a problem; ServerError for one that this release does not know."""
    code = problem.type.removeprefix(_URN)
    kind = next((each for each in _kinds(TaggerError) if getattr(each, "code", None) == code), ServerError)
    return kind(problem.detail, problem.hint, retry_after=retry_after)


def unreachable(server: str, error: Exception) -> ServerError:
    """What is told when a server cannot be asked, or leaves in the middle of its answer."""
    why = str(error) or type(error).__name__
    return ServerError(f"the server {server} does not answer: {why}", _NO_SERVER_HINT)


def _kinds(base: type[TaggerError]) -> Iterator[type[TaggerError]]:
    for kind in base.__subclasses__():
        yield kind
        yield from _kinds(kind)
