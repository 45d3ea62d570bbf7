"""Folders in which something is written before it appears under its name. Those of killed processes are found
by their lock, which ends with the process."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex

from filelock import FileLock

_PREFIX = ".unfinished-"
_LOCK = ".lock"


@contextmanager
def unfinished_folder(parent: Path) -> Iterator[Path]:
    """A new, empty folder in the existing folder `parent`. It is removed at the end of the block, and before
    it those that killed processes left there. Raises OSError if it cannot be made."""
    remove_leftovers(parent)
    folder = parent / f"{_PREFIX}{token_hex(8)}"
    lock = _lock_of(folder)
    # The lock comes before the folder: a folder without a held lock is then always a leftover.
    try:
        with lock:
            try:
                folder.mkdir(mode=0o700)
                yield folder
            finally:
                shutil.rmtree(folder, ignore_errors=True)
    finally:
        Path(lock.lock_file).unlink(missing_ok=True)


def remove_leftovers(parent: Path) -> None:
    """Removes the folders of `unfinished_folder` in `parent` whose processes were killed. What a living
    process writes, and what this user may not remove, stays."""
    for folder in parent.glob(f"{_PREFIX}*"):
        # A lock that another process holds raises Timeout, which is an OSError.
        with suppress(OSError):
            if folder.is_dir():
                lock = _lock_of(folder)
                with lock.acquire(timeout=0):
                    shutil.rmtree(folder, ignore_errors=True)
                Path(lock.lock_file).unlink(missing_ok=True)


def _lock_of(folder: Path) -> FileLock:
    return FileLock(folder.with_name(folder.name + _LOCK))
