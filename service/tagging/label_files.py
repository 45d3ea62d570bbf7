"""Keeps encoded labels in files, so that they are not encoded again after a restart."""

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
"""The largest number of files, however small they are."""

_SUFFIX = ".safetensors"
_UNFINISHED = ".unfinished"
_HOUR = 3600.0
_logger = logging.getLogger("sigrl")

Arrays = Mapping[str, npt.NDArray[np.float32]]


class LabelFiles:
    """A folder with files of label features. Their total size and number are limited, and the least recently
    used file is deleted first. Safe for threads, and for processes that share the folder.

    An error here never fails a request: if a file cannot be read or written, the labels are encoded as if
    there were no folder. A damaged file, even if only one bit is wrong, is replaced.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        """`folder` is created when it is first needed."""
        self._folder, self._max_bytes = folder, max_bytes
        self._lock = Lock()
        # How much may still be written before the files in the folder are counted again.
        self._bytes_left = self._files_left = 0

    @classmethod
    def of(cls, settings: Settings) -> Self | None:
        """The files in the data folder, or None if the settings turn them off."""
        if not settings.label_files_bytes:
            return None
        return cls(settings.data / "labels", settings.label_files_bytes)

    def get(
        self, engine: Engine, vocabulary: Vocabulary, encode: Callable[[], LabelFeatures]
    ) -> LabelFeatures:
        """The features from their file. If that cannot be used, calls `encode` and writes a new file."""
        # Other code may encode differently, and another kind of engine rounds differently.
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
            _logger.warning("encoded labels in %s are damaged and are encoded again: %s", path, error)
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
            _logger.warning("encoded labels cannot be written to %s: %s", self._folder, error)

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
                    # The file is left over from a process that ended while writing it.
                    Path(entry.path).unlink(missing_ok=True)
            self._bytes_left, self._files_left = self._max_bytes, MAX_FILES
            for _, size, name in sorted(files, reverse=True):
                # A sixteenth is kept free. Otherwise, all files would be counted whenever one is written.
                if self._bytes_left - size < self._max_bytes // 16 or self._files_left <= MAX_FILES // 16:
                    Path(name).unlink(missing_ok=True)
                else:
                    self._bytes_left -= size
                    self._files_left -= 1


@cache
def _code() -> str:
    """SHA-256 of the code that encodes. With it in the key, files from older code are never used."""
    digest = hashlib.sha256()
    for path in sorted(Path(sigrl.model.__path__[0]).rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _read(path: Path, key: str) -> dict[str, npt.NDArray[np.float32]]:
    """The arrays in a file. Raises FileNotFoundError, OSError, SafetensorError and ValueError."""
    with safe_open(path, framework="numpy") as file:
        known = file.metadata() or {}
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    if known.get("key") != key or known.get("sha256") != _digest(arrays):
        raise ValueError("the content does not match its digest")
    # Marks the file as recently used, so that it is deleted later than others.
    with suppress(OSError):
        os.utime(path)
    return arrays


def _digest(arrays: Arrays) -> str:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(f"{name} {arrays[name].dtype} {arrays[name].shape} ".encode())
        digest.update(np.ascontiguousarray(arrays[name]).data)
    return digest.hexdigest()
