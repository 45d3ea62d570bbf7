"""`sigrl checkpoint get`: downloads a model from the list and makes a bundle of it."""

import os
import shutil
import sys
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Annotated

import typer

from sigrl.service.commands.server import LOCAL, ServerOption
from sigrl.service.errors import DownloadError, ParameterError

if TYPE_CHECKING:
    from sigrl.service.hub.catalogue import Model
    from sigrl.service.hub.conversion import Needs
    from sigrl.service.hub.download import Hub, RemoteFile

HUB = "https://huggingface.co"


def get_command(
    name: Annotated[str | None, typer.Argument(help="A model's name in the list")] = None,
    show_list: Annotated[bool, typer.Option("--list", help="Print the models on offer.")] = False,
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
        _print_list()
        return
    if name is None:
        raise ParameterError("no model is named", "name one that `sigrl checkpoint get --list` shows")
    from sigrl.service.checkpoints.bundles import BundleStore
    from sigrl.service.hub.catalogue import find_model
    from sigrl.service.settings import load_settings

    model, settings = find_model(name), load_settings()
    bundle = BundleStore.of(settings).directory / model.name
    if bundle.exists():
        _say(f"{bundle} already exists")
    else:
        _get(model, bundle, settings.data / "downloads" / model.name, brought, photographs)
    if activate:
        from sigrl.service.commands.activating import activate_now_or_later

        _say(activate_now_or_later(model.name, settings, server))
    else:
        _say(f"to serve it: sigrl checkpoint load {model.name} --activate")


def _get(
    model: "Model", bundle: Path, downloads: Path, brought: Path | None, photographs: Path | None
) -> None:
    from sigrl.service.hub.conversion import check_packages, convert
    from sigrl.service.settings import make_private_folder

    check_packages()
    if photographs is not None and not photographs.is_dir():
        raise ParameterError(f"{photographs} is not a folder", "name a folder of photographs")
    make_private_folder(bundle.parent)
    make_private_folder(downloads)
    weights = _download(model, downloads) if brought is None else _link(model, brought, downloads)
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
    from sigrl.service.terminal import Renderer

    with Hub(os.environ.get("HF_ENDPOINT") or HUB) as hub:
        files = _files(hub, model)
        needed = needs(model, sum(remote.size for remote in files.values()))
        _say(_announcement(model, needed))
        check_room(folder, needed)
        with Renderer(as_json=False) as renderer:
            for name, remote in files.items():
                with renderer.phase(name, remote.size) as progress:
                    hub.download(remote, folder / name, progress)
    return folder / next(iter(files))


def _files(hub: "Hub", model: "Model") -> "dict[str, RemoteFile]":
    """The model's files on the hub, by the names that they get here, the weights first. Raises DownloadError,
    which says what to bring if there is no network."""
    from sigrl.service.hub.catalogue import TOKENIZER, WEIGHTS

    try:
        weights = hub.find(model.repository, *WEIGHTS)
        files = {model.tag + PurePath(weights.url).suffix: weights}
        if model.tokenizer is not None:
            files |= {name: hub.find(model.tokenizer, name) for name in TOKENIZER}
    except DownloadError as error:
        bring = hub.url(model.repository, WEIGHTS[0])
        if model.tokenizer is not None:
            bring += f" and, beside it, {' and '.join(hub.url(model.tokenizer, name) for name in TOKENIZER)}"
        raise DownloadError(
            error.detail,
            f"or bring {bring} from another machine: `sigrl checkpoint get {model.name} --from FILE`",
        ) from error
    return files


def _link(model: "Model", brought: Path, folder: Path) -> Path:
    """Links to files that were brought, under the names that they would have after a download; returns the
    link to the weights. Raises ParameterError for a file that is missing."""
    from sigrl.service.hub.catalogue import TOKENIZER

    files = {model.tag + brought.suffix: brought}
    if model.tokenizer is not None:
        files |= {name: brought.with_name(name) for name in TOKENIZER}
    for name, file in files.items():
        if not file.is_file():
            raise ParameterError(f"{file} is not there", "put it beside the weights that `--from` names")
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(file.absolute())
    return folder / next(iter(files))


def _announcement(model: "Model", needed: "Needs") -> str:
    return (
        f"{model.name}: {_size(needed.download)} to download; at most {_size(needed.disk)} of disk during "
        f"the conversion and {_size(model.bundle_bytes)} afterwards; about {_size(needed.memory)} of memory; "
        f"about {needed.minutes:.0f} minutes on two cores with 50 Mbit/s. Licence: {model.licence}"
    )


def _print_list() -> None:
    from rich.console import Console
    from rich.table import Table

    from sigrl.service.hub.catalogue import catalogue

    columns = "name", "parameters (M)", "float32", "memory", "pixels", "languages", "ImageNet", "licence"
    table = Table(*columns, box=None, pad_edge=False)
    for model in catalogue():
        table.add_row(
            model.name,
            " + ".join(f"{count:g}" for count in model.parameters),
            _size(model.full_bytes),
            _size(model.serving_bytes),
            str(model.resolution),
            model.languages,
            "" if model.imagenet is None else f"{model.imagenet:.1f}",
            model.licence,
        )
    console = Console(highlight=False)
    console.print(table)
    console.print(
        "float32: size of the weights in float32, as most publishers store them; `get` prints the exact size "
        "before it downloads. memory: about what serving takes. ImageNet: zero-shot accuracy in percent, as "
        "published by others; none of it was measured here. docs/models.md has the sources.",
        soft_wrap=True,
    )


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
