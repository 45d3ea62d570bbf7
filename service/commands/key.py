"""`sigrl key`: manages API keys directly in the database."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sigrl.service.keys.key import KeyScope

if TYPE_CHECKING:
    from sigrl.service.keys.store import KeyStore

_COLUMNS = ("id", "name", "scope", "rate", "created", "expires", "last_used")

app = typer.Typer(
    help="API keys. Clients need one when the service is reachable from other machines; see SIGRL_KEYS.",
    no_args_is_help=True,
)


@app.command("create")
def create_command(
    name: Annotated[str, typer.Argument(help="Who will use the key.", metavar="NAME")],
    scope: Annotated[
        KeyScope,
        typer.Option(help="tag; vocabulary: also change vocabularies; admin: also manage checkpoints."),
    ] = KeyScope.TAG,
    rate: Annotated[
        int | None,
        typer.Option(min=0, help="Requests per minute instead of SIGRL_RATE_PER_MINUTE; 0: no limit."),
    ] = None,
    expires: Annotated[
        int | None, typer.Option(min=1, max=36500, help="Days until the key expires.", metavar="DAYS")
    ] = None,
) -> None:
    """Creates a key and prints it. It cannot be shown again: only its hash is stored."""
    with _store() as store:
        _, text = store.create(name, scope, rate, expires)
    print(text)


@app.command("list")
def list_command(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per line.")] = False,
) -> None:
    """Lists all keys without their secrets."""
    with _store() as store:
        keys = store.all()
    rows: list[dict[str, Any]] = [
        {
            "id": key.id,
            "name": key.name,
            "scope": key.scope.value,
            "rate": key.rate,
            "created": key.created.isoformat(timespec="seconds"),
            "expires": key.expires and key.expires.isoformat(timespec="seconds"),
            "last_used": key.last_used and key.last_used.isoformat(timespec="seconds"),
        }
        for key in keys
    ]
    if as_json:
        for row in rows:
            print(json.dumps(row))
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in _COLUMNS:
        table.add_column(name.replace("_", " "), no_wrap=name == "id")
    for row in rows:
        # Of a time, only the date.
        shown = {**row, **{name: (row[name] or "")[:10] for name in _COLUMNS[-3:]}}
        table.add_row(*("" if shown[name] is None else escape(str(shown[name])) for name in _COLUMNS))
    Console(highlight=False).print(table)


@app.command("revoke")
def revoke_command(
    key_id: Annotated[str, typer.Argument(help="The key's id; see `sigrl key list`.", metavar="ID")],
) -> None:
    """Revokes a key. It stops working within five seconds, even if it is in use."""
    with _store() as store:
        store.revoke(key_id)
    print(f"{key_id} is revoked")


@contextmanager
def _store() -> "Iterator[KeyStore]":
    from sigrl.service.database.database import Database
    from sigrl.service.keys.store import KeyStore
    from sigrl.service.settings import load_settings

    database = Database.open(load_settings())
    try:
        yield KeyStore(database)
    finally:
        database.close()
