"""`sigrl checkpoint get`: downloads a model from the list and makes a bundle of it."""

import os
import shlex
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sigrl.service.commands.server import LOCAL, ServerOption
from sigrl.service.errors import ParameterError

if TYPE_CHECKING:
    from sigrl.service.hub.catalogue import Model
    from sigrl.service.hub.conversion import Needs

HUB = "https://huggingface.co"


def get_command(
    name: Annotated[str | None, typer.Argument(help="A model's name in the list")] = None,
    show_list: Annotated[
        bool, typer.Option("--list", help="Print the models on offer; asks the hub for their sizes.")
    ] = False,
    photographs: Annotated[
        Path | None,
        typer.Option(help="Folder of photographs of your own, some 400, to calibrate on; no labels needed"),
    ] = None,
    brought: Annotated[
        Path | None,
        typer.Option("--from", metavar="FILE", help="Weights from another machine; nothing is downloaded"),
    ] = None,
    activate: Annotated[
        bool, typer.Option("--activate", help="Activate it on the server, or for its next start.")
    ] = False,
    server: ServerOption = LOCAL,
) -> None:
    """Gets a model that others published: downloads it, checks it, and puts its bundle into the folder of
    bundles. An interrupted download resumes where it stopped. HF_ENDPOINT names a mirror of the hub."""
    if show_list:
        _list()
        return
    if name is None:
        raise ParameterError("no model is named", "name one that `sigrl checkpoint get --list` shows")
    from sigrl.service.checkpoints.bundles import BundleStore
    from sigrl.service.hub.catalogue import find_model
    from sigrl.service.settings import load_settings

    model, settings = find_model(name), load_settings()
    store = BundleStore.of(settings)
    bundle = store.directory / model.name
    if bundle.exists():
        if photographs is None:
            _say(f"{bundle} already exists")
        elif store.find(model.name).calibrated:
            _say(f"{bundle} already exists and is calibrated, so {photographs} is not used")
        else:
            raise _already_there(bundle, photographs)
    else:
        _get(model, bundle, settings.data / "downloads" / model.name, brought, photographs)
    if activate:
        from sigrl.service.commands.activating import activate_now_or_later

        _say(activate_now_or_later(model.name, settings, server))
    else:
        _say(f"to serve it: sigrl checkpoint load {model.name} --activate")


def _list() -> None:
    from sigrl.service.commands.model_list import print_list
    from sigrl.service.hub.catalogue import catalogue
    from sigrl.service.hub.download import Hub

    with Hub(_address()) as hub:
        _say(f"asking {hub.address} for the sizes")
        print_list(hub, catalogue())


def _already_there(bundle: Path, photographs: Path) -> ParameterError:
    """The error for photographs that come too late: a bundle is final, and a server may be using it."""
    calibrated = f"{bundle}-calibrated"
    command = shlex.join(
        ["sigrl-train", "calibrate", str(bundle), "--photographs", str(photographs), "-o", calibrated]
    )
    return ParameterError(
        f"{bundle} already exists and is not calibrated",
        f"calibrate a copy of it: {command}; then activate the copy: "
        f"sigrl checkpoint load {bundle.name}-calibrated --activate",
    )


def _get(
    model: "Model", bundle: Path, downloads: Path, brought: Path | None, photographs: Path | None
) -> None:
    from sigrl.service.hub.conversion import check_packages, convert
    from sigrl.service.hub.model_files import link_brought
    from sigrl.service.settings import make_private_folder

    check_packages()
    if photographs is not None and not photographs.is_dir():
        raise ParameterError(f"{photographs} is not a folder", "name a folder of photographs")
    make_private_folder(bundle.parent)
    make_private_folder(downloads)
    # Imported after the check, because an installation that only serves may lack filelock.
    from sigrl.model.unfinished import remove_leftovers

    # What a killed conversion left would count as used when the room on the disk is checked.
    remove_leftovers(bundle.parent)
    weights = _download(model, downloads) if brought is None else link_brought(model, brought, downloads)
    convert(model, weights, bundle, photographs)
    shutil.rmtree(downloads)
    _say(f"wrote {bundle}")
    if photographs is None:
        _say(
            "not calibrated: its probabilities are the model's own, shifted by how common each word is; to "
            f"calibrate them on photographs of your own: sigrl-train calibrate {bundle} --photographs FOLDER "
            f"-o {bundle}-calibrated"
        )


def _download(model: "Model", folder: Path) -> Path:
    """Downloads what is missing in the folder, and returns the file with the weights."""
    from sigrl.service.hub.conversion import check_room, needs
    from sigrl.service.hub.download import Hub
    from sigrl.service.hub.model_files import remote_files
    from sigrl.service.terminal import Renderer

    with Hub(_address()) as hub:
        files = remote_files(hub, model)
        needed = needs(model, sum(remote.size for remote in files.values()))
        _say(_announcement(model, needed))
        check_room(folder, needed)
        with Renderer(as_json=False) as renderer:
            for name, remote in files.items():
                with renderer.phase(name, remote.size) as progress:
                    hub.download(remote, folder / name, progress)
    return folder / next(iter(files))


def _announcement(model: "Model", needed: "Needs") -> str:
    from rich.filesize import decimal

    return (
        f"{model.name}: {decimal(needed.download)} to download; at most {decimal(needed.disk)} of disk "
        f"during the conversion and {decimal(model.bundle_bytes)} afterwards; about "
        f"{decimal(needed.memory)} of memory; about {needed.minutes:.0f} minutes on two cores with "
        f"50 Mbit/s. Licence: {model.licence}"
    )


def _address() -> str:
    return os.environ.get("HF_ENDPOINT") or HUB


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
