"""`sigrl checkpoint`: gets models, and manages the checkpoints of a running server over HTTP."""

from typing import TYPE_CHECKING, Annotated

import typer

from sigrl.service.commands.activating import GONE, load_and_wait
from sigrl.service.commands.get import get_command
from sigrl.service.commands.server import LOCAL, ServerOption, connected
from sigrl.service.errors import CheckpointNotFoundError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sigrl.service.schemas.checkpoints import CheckpointInfo

app = typer.Typer(
    help="Get models; load, activate and roll back the checkpoints of a running server. An API key is read "
    "from SIGRL_API_KEY.",
    no_args_is_help=True,
)

app.command("get")(get_command)

_UNCALIBRATED = "not calibrated"
_HOW_TO_CALIBRATE = (
    "not calibrated: probabilities are the model's own, shifted by how common each word is; rely on their "
    "order, or calibrate it on some 400 photographs of your own: "
    "sigrl-train calibrate BUNDLE --photographs FOLDER -o NEW_BUNDLE"
)


@app.command("list")
def list_command(
    server: ServerOption = LOCAL,
    as_json: Annotated[bool, typer.Option("--json", help="Print the server's response as it is.")] = False,
) -> None:
    """Lists the active checkpoint, those that are ready, and the bundles that can be loaded."""
    with connected(server) as client:
        found = client.list_checkpoints()
    if as_json:
        print(found.model_dump_json())
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("checkpoint", "bundle", "state", "requests", "", box=None, pad_edge=False)
    uncalibrated = {bundle.checkpoint for bundle in found.bundles if bundle.calibrated is False}
    for each in found.checkpoints:
        remark = "previous" if each.previous else each.reason or _progress(each)
        if each.id in uncalibrated and each.state not in GONE:
            remark = ", ".join(filter(None, [remark, _UNCALIBRATED]))
        table.add_row(_short(each.id), each.bundle or "(bundled)", each.state, str(each.requests), remark)
    known = {each.id for each in found.checkpoints}
    for bundle in found.bundles:
        if bundle.checkpoint not in known:
            remark = bundle.problem or (_UNCALIBRATED if bundle.checkpoint in uncalibrated else "")
            table.add_row(_short(bundle.checkpoint or ""), bundle.bundle, "on disk", "", remark)
    console = Console(highlight=False)
    console.print(f"generation {found.generation}")
    if found.problem:
        console.print(found.problem, soft_wrap=True, markup=False)
    console.print(table)
    if uncalibrated:
        console.print(_HOW_TO_CALIBRATE, soft_wrap=True, markup=False)
    if len(found.replicas) > 1:
        said = {
            True: "promoted on all",
            False: "not promoted on all yet",
            None: "the database does not answer",
        }
        console.print(f"{len(found.replicas)} replicas, {said[found.promoted]}")
        for replica in found.replicas:
            where = f"  {replica.id}: generation {replica.generation}, {_short(replica.checkpoint)}"
            console.print(where + (f", {replica.problem}" if replica.problem else ""), markup=False)


@app.command("load")
def load_command(
    bundle: Annotated[str, typer.Argument(help="Name of a bundle in the server's folder of bundles.")],
    server: ServerOption = LOCAL,
    activate: Annotated[bool, typer.Option("--activate", help="Activate it when it is ready.")] = False,
) -> None:
    """Loads a bundle and waits until it is ready."""
    with connected(server) as client:
        info = load_and_wait(client, bundle)
        if activate:
            info = client.activate_checkpoint(info.id)
    _tell(info)


@app.command("activate")
def activate_command(
    checkpoint: Annotated[
        str, typer.Argument(help="The checkpoint's id or the start of it, or the name of its bundle.")
    ],
    server: ServerOption = LOCAL,
    force: Annotated[
        bool, typer.Option("--force", help="Activate it even if it exceeds the drift limits.")
    ] = False,
) -> None:
    """Activates a checkpoint that is ready."""
    with connected(server) as client:
        found = _resolve(checkpoint, client.list_checkpoints().checkpoints)
        _tell(client.activate_checkpoint(found, force=force))


@app.command("rollback")
def rollback_command(server: ServerOption = LOCAL) -> None:
    """Reactivates the previously active checkpoint."""
    with connected(server) as client:
        _tell(client.roll_back())


def _resolve(wanted: str, checkpoints: "Iterable[CheckpointInfo]") -> str:
    """The id of the only checkpoint that matches; those in memory take precedence."""
    known = list(checkpoints)
    known = [each for each in known if each.state not in GONE] or known
    prefix = "sha256:" + wanted.removeprefix("sha256:")
    found = {each.id for each in known if each.bundle == wanted or each.id.startswith(prefix)}
    if len(found) != 1:
        raise CheckpointNotFoundError(
            f"{len(found) or 'no'} checkpoints match {wanted[:80]!a}",
            "`sigrl checkpoint list` shows the loaded ones",
        )
    return found.pop()


def _short(checkpoint_id: str) -> str:
    return checkpoint_id.removeprefix("sha256:")[:12]


def _progress(info: "CheckpointInfo") -> str:
    if info.state != "warming":
        return ""
    return f"{info.labels_done:,} of {info.labels_total:,} labels"


def _tell(info: "CheckpointInfo") -> None:
    print(f"{_short(info.id)} ({info.bundle or 'bundled'}) is {info.state}")
