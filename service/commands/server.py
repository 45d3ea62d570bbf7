"""What all commands that speak to a running server have in common."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.errors import ServerError

if TYPE_CHECKING:
    import httpx

ServerOption = Annotated[
    str, typer.Option(envvar="SIGRL_SERVER", help="Address of the server.", metavar="URL")
]
LOCAL = "http://127.0.0.1:8000"
# More than a server takes by default, so that its own word on what took too long is heard.
_TIMEOUT_SECONDS = 90


@contextmanager
def connected(server: str) -> "Iterator[httpx.Client]":
    """A client of the server; within the block what fails on the way there is a ServerError."""
    import httpx

    hint = "start it with `sigrl serve`, or name it with --server or SIGRL_SERVER"
    try:
        with httpx.Client(base_url=server, timeout=_TIMEOUT_SECONDS, headers=_authorization()) as client:
            yield client
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise ServerError(f"the server {server} does not answer: {error}", hint) from error


def ask(
    client: "httpx.Client", method: str, path: str, body: dict[str, Any] | None = None, **form: Any
) -> Any:
    """The content of the answer to `body` as JSON, or to the `data` and `files` of a form. Raises
    ServerError in the server's words."""
    answer = client.request(method, path, json=body, **form)
    try:
        content = answer.json()
        if answer.is_success:
            return content
        detail, hint = content["detail"], content["hint"]
    except (ValueError, KeyError, TypeError) as error:
        raise ServerError(
            f"what answers at {client.base_url} is no sigrl server (status {answer.status_code})",
            "name the server with --server",
        ) from error
    raise ServerError(detail, hint)


def _authorization() -> dict[str, str]:
    # From the environment and not from an option, which everybody on a machine can read in its processes.
    key = os.environ.get("SIGRL_API_KEY")
    return {"Authorization": f"Bearer {key}"} if key else {}
