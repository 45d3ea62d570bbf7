"""Folders in which something is written before it appears under its name. Those of killed processes are found
by their lock, which ends with the process."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex
from socket import gethostname
from urllib.parse import quote

from filelock import FileLock

_LOCK = ".lock"


@contextmanager
def unfinished_folder(parent: Path) -> Iterator[Path]:
    """A new, empty folder in the existing folder `parent`. It is removed at the end of the block, and before
    it those that killed processes of this host left there. Raises OSError if it cannot be made."""
    remove_leftovers(parent)
    folder = parent / f"{_prefix()}{token_hex(8)}"
    try:
        # The lock comes before the folder, because a folder whose lock nobody holds is a leftover.
        with _lock_of(folder):
            folder.mkdir(mode=0o700)
            yield folder
    finally:
        _remove(folder)


def remove_leftovers(parent: Path) -> None:
    """Removes the folders of `unfinished_folder` in `parent` whose processes, on this host, were killed. What
    a living process writes, what another host wrote, and what this user may not remove, stays."""
    for lock in parent.glob(f"{_prefix()}*{_LOCK}"):
        _remove(lock.with_suffix(""))


def _prefix() -> str:
    """How the names of this host's folders begin. On some shared volumes a lock is not seen by other hosts,
    so each host removes only its own. `quote` leaves no @ in the host's name, so that no prefix begins
    another one."""
    return f".unfinished-{quote(gethostname(), safe='')}@"


def _lock_of(folder: Path) -> FileLock:
    return FileLock(folder.with_name(folder.name + _LOCK))


def _remove(folder: Path) -> None:
    """Removes the folder and then its lock, unless a process holds the lock."""
    lock = _lock_of(folder)
    # A lock that another process holds raises Timeout, which is an OSError.
    with suppress(OSError):
        with lock.acquire(timeout=0):
            shutil.rmtree(folder, ignore_errors=True)
        # What could not be removed keeps its lock, by which the next process finds it.
        if not folder.exists():
            Path(lock.lock_file).unlink(missing_ok=True)
