"""What all commands that speak to a running server have in common."""

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from sigrl.service.client import Client

ServerOption = Annotated[
    str, typer.Option(envvar="SIGRL_SERVER", help="Address of the server.", metavar="URL")
]
LOCAL = "http://127.0.0.1:8000"


def connected(server: str) -> "Client":
    """A client for commands whose user waits: a server that is not there is told at once. Its key is read
    from SIGRL_API_KEY, and not from an option, which everybody on a machine can see in its processes."""
    from sigrl.service.client import Client

    return Client(server, retries=0)
