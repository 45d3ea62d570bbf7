"""The checks of `sigrl doctor`: whether this machine can run the service. They change nothing."""

import os
import platform
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sigrl.model.processors import available_processors
from sigrl.service.errors import ParameterError, TaggerError
from sigrl.service.settings import Settings

Status = Literal["ok", "note", "failed"]
"""A note reports something missing that these settings do not need."""


@dataclass(frozen=True)
class Finding:
    """The outcome of one check."""

    check: str
    status: Status
    detail: str
    hint: str = ""
    """What to do; empty if nothing is to be done."""


def examine(settings: Settings) -> Iterator[Finding]:
    """Runs every check, cheap ones first; a failed check does not stop the next."""
    yield Finding("python", "ok", _python())
    for check, look in _CHECKS.items():
        yield _finding(check, look, settings)


def _finding(check: str, look: Callable[[Settings], Finding], settings: Settings) -> Finding:
    try:
        return look(settings)
    except TaggerError as error:
        return Finding(check, "failed", error.detail, error.hint)
    except Exception as error:
        # A broken installation can raise anything, and reporting it is this command's purpose.
        reason = (str(error).strip() or "no reason given").splitlines()[0]
        return Finding(check, "failed", f"{type(error).__name__}: {reason}", "reinstall sigrl-tagger")


def _python() -> str:
    cores = available_processors()
    return f"{platform.python_version()} on {sys.platform} {platform.machine()}, {cores} cores"


def _engine(settings: Settings) -> Finding:
    from sigrl.service.tagging.engines import choose_engine

    chosen = choose_engine(settings.checkpoint, settings)
    if chosen == "openvino":
        import openvino

        return Finding("engine", "ok", f"openvino {openvino.__version__} (CPU)")
    if chosen == "onnx":
        import onnxruntime

        providers = [name.removesuffix("ExecutionProvider") for name in onnxruntime.get_available_providers()]
        return Finding("engine", "ok", f"onnxruntime {onnxruntime.__version__} ({', '.join(providers)})")
    import torch

    gpu = torch.cuda.is_available()
    device = torch.cuda.get_device_name() if gpu else f"CPU, {torch.get_num_threads()} threads"
    if torch.version.cuda is not None and not gpu:
        hint = "to use a GPU, install its driver; in a container, use `docker run --gpus all`"
        return Finding("engine", "note", f"torch {torch.__version__} finds no GPU: {device}", hint)
    return Finding("engine", "ok", f"torch {torch.__version__} ({device})")


def _tagging(settings: Settings) -> Finding:
    """Loads the configured checkpoint, which verifies every file, and tags a grey image."""
    from PIL import Image

    from sigrl.service.tagging.engines import load_engine
    from sigrl.service.tagging.tagger import Tagger

    # Nothing stays in the data folder: it would belong to whoever runs the check.
    with tempfile.TemporaryDirectory() as folder:
        elsewhere = settings.model_copy(update={"data": Path(folder)})
        tagger = Tagger(engine=load_engine(settings.checkpoint, elsewhere))
    photograph = Image.new("RGB", (640, 480), (128, 128, 128))
    labels = ["cat", "dog", "car"]
    tagger.tag(photograph, labels)
    started = time.perf_counter()
    tagger.tag(photograph, labels)
    milliseconds = 1000 * (time.perf_counter() - started)
    name = "the bundled checkpoint" if settings.checkpoint is None else str(settings.checkpoint)
    short = tagger.engine.checkpoint_id.removeprefix("sha256:")[:12]
    return Finding("checkpoint", "ok", f"{name} ({short}) is intact and tags in {milliseconds:.0f} ms")


def _vocabulary(settings: Settings) -> Finding:
    from sigrl.service.vocabularies.builtin import BUILTIN, find

    if settings.vocabulary not in BUILTIN and _database(settings).status == "note":
        # Looking up a name would migrate the database to this release's revision.
        return Finding(
            "vocabulary", "note", f"{settings.vocabulary}: not checked, the database is at an older revision"
        )
    found = find(settings.vocabulary, settings)
    return Finding("vocabulary", "ok", f"{settings.vocabulary}: {len(found.labels):,} labels")


def _data(settings: Settings) -> Finding:
    folder = settings.data
    existing = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        raise ParameterError(
            f"cannot write to {existing}: {error.strerror}",
            "give the service's user write permission, or set SIGRL_DATA to another folder",
        ) from error
    free = shutil.disk_usage(existing).free / 2**30
    remark = "" if existing == folder else " (created at the first start)"
    return Finding("data folder", "ok", f"{folder}{remark}, {free:,.0f} GiB free")


def _database(settings: Settings) -> Finding:
    from sigrl.service.database.database import FILE_NAME, schema_revisions

    if settings.database_url is None and not (settings.data / FILE_NAME).exists():
        return Finding("database", "ok", "SQLite, created at the first start")
    kind = "SQLite" if settings.database_url is None else "PostgreSQL"
    found, newest = schema_revisions(settings)
    if found is None:
        return Finding("database", "ok", f"{kind} responds and is empty; the first start creates the tables")
    if found == newest:
        return Finding("database", "ok", f"{kind}, revision {found}")
    hint = "make a backup: the next start migrates it"
    return Finding("database", "note", f"{kind} is at revision {found}, this release uses {newest}", hint)


def _formats(_: Settings) -> Finding:
    from PIL import features

    from sigrl.service.images import decoding as images

    lacking = [name for name in ("jpg", "webp", "avif") if not features.check(name)]
    if lacking:
        hint = "install Pillow from PyPI's wheels"
        return Finding("formats", "note", f"this Pillow cannot read {', '.join(lacking)}", hint)
    return Finding("formats", "ok", images.FORMATS_IN_WORDS)


def _compiler(settings: Settings) -> Finding:
    names = (os.environ.get("CXX"), "g++", "clang++")
    found = next((name for name in names if name and shutil.which(name)), None)
    if found is not None:
        return Finding("compiler", "ok", f"{shutil.which(found)}, for SIGRL_COMPILED=1")
    if settings.compiled and settings.engine in ("auto", "torch"):
        raise ParameterError(
            "SIGRL_COMPILED is set, but there is no C++ compiler", "install g++, or unset SIGRL_COMPILED"
        )
    return Finding("compiler", "note", "none, and none is needed", "only SIGRL_COMPILED=1 needs g++")


def _port(settings: Settings) -> Finding:
    address = f"{settings.host}:{settings.port}"
    try:
        with socket.create_server((settings.host, settings.port)):
            return Finding("port", "ok", f"{address} is free")
    except OSError as error:
        if _is_ours(settings):
            return Finding("port", "ok", f"a sigrl server is running at {address}")
        reason = error.strerror or str(error)
        raise ParameterError(
            f"cannot listen on {address}: {reason}", "stop the program that uses it, or set SIGRL_PORT"
        ) from error


def _is_ours(settings: Settings) -> bool:
    import httpx

    with suppress(httpx.HTTPError, ValueError):
        answer = httpx.get(f"http://{settings.host}:{settings.port}/healthz", timeout=5)
        return bool(answer.json() == {"status": "alive"})
    return False


_CHECKS: dict[str, Callable[[Settings], Finding]] = {
    "engine": _engine,
    "formats": _formats,
    "compiler": _compiler,
    "data folder": _data,
    "database": _database,
    "port": _port,
    "vocabulary": _vocabulary,
    "checkpoint": _tagging,
}
