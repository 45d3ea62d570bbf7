"""What both clients do around a request, with no waiting in it."""

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
"""More than a server takes by default, so that its own word on what took too long is heard."""
RETRIES = 4
AT_ONCE = 32
"""Photographs of one request; a server takes 64 by default."""


def settings(server: str, api_key: str | None, timeout: float) -> dict[str, Any]:
    """Arguments of an `httpx` client. Raises ParameterError for a key that cannot be sent, and
    ServerError for what is no address."""
    key = (os.environ.get("SIGRL_API_KEY", "") if api_key is None else api_key).strip()
    if not key.isascii() or not key.isprintable():
        raise ParameterError("the API key holds what no key has", "give it as `sigrl key create` showed it")
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
    """What an answer says, which was read. Raises the error that it tells of."""
    if not response.is_success:
        raise failure(response)
    try:
        return request.read(response)
    except (ValidationError, ValueError, KeyError) as error:
        detail = f"what answers at {response.url} is no sigrl server, or one of another release"
        raise ServerError(detail, "check the address, and `sigrl --version` on both sides") from error


def pause(attempts: Attempts, error: httpx.HTTPError | TaggerError, server: str) -> float:
    """Seconds until the next attempt. Raises the error where there is none."""
    seconds = attempts.pause(error)
    if seconds is not None:
        return seconds
    if isinstance(error, TaggerError):
        raise error
    raise unreachable(server, error) from error
