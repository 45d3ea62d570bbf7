"""What the synchronous and the asynchronous client share: connection settings, responses, pauses."""

import os
from typing import Any

import httpx
from pydantic import ValidationError

from sigrl.service.client.failures import failure, unreachable
from sigrl.service.client.requests import Request, T
from sigrl.service.client.retrying import Attempts
from sigrl.service.errors import ParameterError, ServerError, TaggerError

LOCAL = "http://127.0.0.1:8000"
TIMEOUT_SECONDS = 90.0
"""Longer than a server's default deadline, so that the server's own timeout error arrives first."""
RETRIES = 4
AT_ONCE = 32
"""Photographs in one request; a server accepts 64 by default."""


def settings(server: str, api_key: str | None, timeout: float) -> dict[str, Any]:
    """The arguments of an `httpx` client. Raises ParameterError if the key cannot be sent in a header and
    ServerError if the address is not a URL."""
    key = (os.environ.get("SIGRL_API_KEY", "") if api_key is None else api_key).strip()
    if not key.isascii() or not key.isprintable():
        raise ParameterError(
            "the API key contains invalid characters", "copy it as `sigrl key create` printed it"
        )
    try:
        address = httpx.URL(server)
    except httpx.InvalidURL as error:
        raise unreachable(server, error) from error
    return {
        "base_url": address,
        "timeout": timeout,
        "headers": {"Authorization": f"Bearer {key}"} if key else {},
    }


def content(request: Request[T], response: httpx.Response) -> T:
    """The content of a response whose body has been read. Raises the error that the response reports."""
    if not response.is_success:
        raise failure(response)
    try:
        return request.read(response)
    except (ValidationError, ValueError, KeyError) as error:
        detail = f"the response from {response.url} is not one of this sigrl release"
        raise ServerError(detail, "check the address, and compare `sigrl --version` on both sides") from error


def pause(attempts: Attempts, error: httpx.HTTPError | TaggerError, server: str) -> float:
    """Seconds until the next attempt. Raises the error if there is no further attempt."""
    seconds = attempts.pause(error)
    if seconds is not None:
        return seconds
    if isinstance(error, TaggerError):
        raise error
    raise unreachable(server, error) from error
