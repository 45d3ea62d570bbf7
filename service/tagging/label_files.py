"""Encoded labels in files, so that a restart encodes nothing anew."""

import hashlib
import logging
import os
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Self

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

import sigrl.model
from sigrl.model.engine import Engine, LabelFeatures
from sigrl.model.vocabulary import Vocabulary
from sigrl.service.observability import metrics
from sigrl.service.settings import Settings, make_private_folder

MAX_FILES = 10_000
"""However small they are."""

_SUFFIX = ".safetensors"
_UNFINISHED = ".unfinished"
_HOUR = 3600.0
_logger = logging.getLogger("sigrl")

Arrays = Mapping[str, npt.NDArray[np.float32]]


class LabelFiles:
    """A folder of label features: bounded by bytes and number, least recently used first out; safe for
    threads and for processes that share the folder.

    Nothing here can fail a request: what cannot be read or written is encoded as if there were no folder. A
    file that is damaged, if by one bit, goes and is made anew.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        """`folder` is made when it is first needed."""
        self._folder, self._max_bytes = folder, max_bytes
        self._lock = Lock()
        # How much may still be written before it is worth counting what is there.
        self._bytes_left = self._files_left = 0

    @classmethod
    def of(cls, settings: Settings) -> Self | None:
        """In the data folder, unless the settings leave it no room."""
        if not settings.label_files_bytes:
            return None
        return cls(settings.data / "labels", settings.label_files_bytes)

    def get(
        self, engine: Engine, vocabulary: Vocabulary, encode: Callable[[], LabelFeatures]
    ) -> LabelFeatures:
        """The features from their file; else from `encode`, and then there is a file."""
        # Other code may encode otherwise, and another kind of engine rounds otherwise.
        key = "\n".join((_code(), type(engine).__name__, engine.checkpoint_id, vocabulary.texts_hash))
        path = self._folder / (hashlib.sha256(key.encode()).hexdigest() + _SUFFIX)
        try:
            features = engine.unpack_labels(_read(path, key))
        except FileNotFoundError:
            metrics.LABEL_FILES.labels("missing").inc()
        except OSError as error:
            metrics.LABEL_FILES.labels("unreadable").inc()
            _logger.warning("encoded labels cannot be read: %s", error)
        except (SafetensorError, ValueError) as error:
            metrics.LABEL_FILES.labels("damaged").inc()
            _logger.warning("encoded labels in %s are damaged and made anew: %s", path, error)
        else:
            metrics.LABEL_FILES.labels("found").inc()
            return features
        features = encode()
        self._write(path, key, engine.pack_labels(features))
        return features

    def _write(self, path: Path, key: str, arrays: Arrays) -> None:
        if sum(array.nbytes for array in arrays.values()) > self._max_bytes * 15 // 16:
            return
        try:
            make_private_folder(self._folder)
            handle, unfinished = tempfile.mkstemp(_UNFINISHED, dir=self._folder)
            os.close(handle)
            try:
                save_file(dict(arrays), unfinished, {"key": key, "sha256": _digest(arrays)})
                size = os.stat(unfinished).st_size
                os.replace(unfinished, path)
            except BaseException:
                os.unlink(unfinished)
                raise
            self._make_room(size)
        except (OSError, SafetensorError) as error:
            _logger.warning("encoded labels cannot be kept in %s: %s", self._folder, error)

    def _make_room(self, written: int) -> None:
        with self._lock:
            self._bytes_left -= written
            self._files_left -= 1
            if min(self._bytes_left, self._files_left) >= 0:
                return
            files = []
            for entry in os.scandir(self._folder):
                status = entry.stat()
                if entry.name.endswith(_SUFFIX):
                    files.append((status.st_mtime_ns, status.st_size, entry.path))
                elif entry.name.endswith(_UNFINISHED) and status.st_mtime < time.time() - _HOUR:
                    # Of a process that ended while it wrote.
                    Path(entry.path).unlink(missing_ok=True)
            self._bytes_left, self._files_left = self._max_bytes, MAX_FILES
            for _, size, name in sorted(files, reverse=True):
                # A sixteenth stays free, or every file would have all of them counted.
                if self._bytes_left - size < self._max_bytes // 16 or self._files_left <= MAX_FILES // 16:
                    Path(name).unlink(missing_ok=True)
                else:
                    self._bytes_left -= size
                    self._files_left -= 1


@cache
def _code() -> str:
    """SHA-256 of the code that encodes: no one has to remember to throw old files away."""
    digest = hashlib.sha256()
    for path in sorted(Path(sigrl.model.__path__[0]).rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _read(path: Path, key: str) -> dict[str, npt.NDArray[np.float32]]:
    """Raises FileNotFoundError, OSError, SafetensorError and ValueError."""
    with safe_open(path, framework="numpy") as file:
        known = file.metadata() or {}
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    if known.get("key") != key or known.get("sha256") != _digest(arrays):
        raise ValueError("the content is not what was written")
    # What was used lately goes last.
    with suppress(OSError):
        os.utime(path)
    return arrays


def _digest(arrays: Arrays) -> str:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(f"{name} {arrays[name].dtype} {arrays[name].shape} ".encode())
        digest.update(np.ascontiguousarray(arrays[name]).data)
    return digest.hexdigest()
