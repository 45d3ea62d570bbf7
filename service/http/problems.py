"""Converts errors to HTTP responses, all of them application/problem+json."""

import errno
import logging
from collections.abc import Mapping
from http import HTTPStatus

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import Request

from sigrl.service.errors import (
    InternalError,
    ParameterError,
    RequestError,
    StorageFullError,
    TaggerError,
)
from sigrl.service.errors.problem import Problem
from sigrl.service.observability import metrics
from sigrl.service.observability.context import SERVED

MEDIA_TYPE = "application/problem+json"

_logger = logging.getLogger("sigrl")
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
_HINTS = {404: "the paths are listed at /docs", 405: "the methods of each path are listed at /docs"}


def refusal(error: TaggerError, members: Mapping[str, object] | None = None) -> JSONResponse:
    """The response for an error, with `members` added to the problem. The cause is counted and logged with
    the request."""
    if (served := SERVED.get()) is not None:
        served.problem = error.code
    metrics.REQUESTS_REFUSED.labels(error.code).inc()
    headers = {} if error.retry_after is None else {"Retry-After": str(error.retry_after)}
    if error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return _response(error.problem(), headers, members)


def unforeseen(error: Exception, request_id: str) -> TaggerError:
    """Logs an unexpected exception and returns the error that is sent to the client."""
    _logger.error("request %s failed", request_id, exc_info=error)
    if isinstance(error, OSError) and error.errno in _NO_ROOM:
        return StorageFullError(
            "the service cannot write a file that it needs",
            "an operator must free space on the disk of the temporary folder or of SIGRL_DATA",
        )
    return InternalError("an unexpected error occurred", f"report it with the request id {request_id}")


def documented(*statuses: int) -> dict[int | str, dict[str, object]]:
    """The error responses of a route's OpenAPI document, by status."""
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {status: {"description": HTTPStatus(status).phrase, "content": content} for status in statuses}


def install(app: FastAPI) -> None:
    """Registers the handlers for this package's errors and for the framework's."""

    @app.exception_handler(TaggerError)
    async def own(_: Request, error: TaggerError) -> JSONResponse:
        return refusal(error)

    @app.exception_handler(RequestValidationError)
    async def parameter(_: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        name, given = first["loc"][-1], str(first.get("input"))[:40]
        detail = f"{name} is {given!a}: {first['msg'][:1].lower()}{first['msg'][1:]}"
        return refusal(ParameterError(detail, "the parameters are described at /docs"))

    @app.exception_handler(HTTPException)
    async def framework(request: Request, error: HTTPException) -> JSONResponse:
        if isinstance(error.__cause__, TaggerError):
            # The framework wraps errors that are raised while it reads the body.
            return refusal(error.__cause__)
        if error.status_code == 400:
            # The framework answers 400 if the body is not even text.
            return refusal(RequestError("the body cannot be read as JSON", "send JSON in UTF-8"))
        phrase = HTTPStatus(error.status_code).phrase
        problem = Problem(
            type="about:blank",
            title=phrase,
            status=error.status_code,
            detail=str(error.detail or phrase),
            hint=_HINTS.get(error.status_code, "see /docs"),
        )
        headers = dict(error.headers or {})
        if error.status_code == 405:
            # The framework lists only the methods of the path's first route.
            path = getattr(request.scope.get("route"), "path", None)
            methods = ", ".join(request.app.openapi()["paths"].get(path, {})).upper()
            headers["Allow"] = methods or headers["Allow"]
        return _response(problem, headers)


def _response(
    problem: Problem, headers: Mapping[str, str], members: Mapping[str, object] | None = None
) -> JSONResponse:
    return JSONResponse(problem.model_dump() | dict(members or {}), problem.status, headers, MEDIA_TYPE)
