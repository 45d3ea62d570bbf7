"""What the commands that talk to a running server share."""

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from sigrl.service.client import Client

ServerOption = Annotated[
    str, typer.Option(envvar="SIGRL_SERVER", help="Address of the server.", metavar="URL")
]
OptionalServerOption = Annotated[
    str | None,
    typer.Option(
        envvar="SIGRL_SERVER", metavar="URL", help="Tag on this server instead of loading a model here."
    ),
]
LOCAL = "http://127.0.0.1:8000"


def connected(server: str) -> "Client":
    """A client without retries, so that an interactive user learns at once that the server is down. The key
    is read from SIGRL_API_KEY rather than an option, because options are visible in the process list."""
    from sigrl.service.client import Client

    return Client(server, retries=0)
