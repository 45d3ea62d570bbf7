"""The files of a listed model on the hub, and their copies from another machine."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePath

from sigrl.service.errors import DownloadError, ParameterError
from sigrl.service.hub.catalogue import TOKENIZER, WEIGHTS, Model
from sigrl.service.hub.download import Hub, RemoteFile

_REQUESTS_AT_ONCE = 8


def remote_files(hub: Hub, model: Model) -> dict[str, RemoteFile]:
    """The model's files on the hub, by the names that they get here, the weights first. Raises DownloadError,
    which says what to bring if there is no network."""
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


def download_sizes(hub: Hub, models: Sequence[Model]) -> Mapping[str, int]:
    """Bytes to download, by the models' names, as the hub states them. Models whose size it does not state
    are left out."""
    with ThreadPoolExecutor(_REQUESTS_AT_ONCE) as pool:
        sizes = list(pool.map(lambda model: _download_size(hub, model), models))
    return {model.name: size for model, size in zip(models, sizes, strict=True) if size is not None}


def _download_size(hub: Hub, model: Model) -> int | None:
    try:
        return sum(remote.size for remote in remote_files(hub, model).values())
    except DownloadError:
        return None


def link_brought(model: Model, brought: Path, folder: Path) -> Path:
    """Links to files that were brought, under the names that they would have after a download; returns the
    link to the weights. Raises ParameterError for a file that is missing."""
    files = {model.tag + brought.suffix: brought}
    if model.tokenizer is not None:
        files |= {name: brought.with_name(name) for name in TOKENIZER}
    for name, file in files.items():
        if not file.is_file():
            raise ParameterError(f"{file} is not there", "put it beside the weights that `--from` names")
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(file.absolute())
    return folder / next(iter(files))
