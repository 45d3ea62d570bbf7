"""What all caches of computed features share: only one run writes a file, and its size is said beforehand."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from accelerate import Accelerator
from filelock import FileLock, Timeout
from rich.filesize import decimal

from sigrl.training.data.dataset import DataError
from sigrl.training.terminal import log_line


@contextmanager
def locked(path: Path, accelerator: Accelerator | None = None) -> Iterator[None]:
    """Within the block this run alone writes `path`; the lock is a file beside it, in a folder that exists.
    The processes of `accelerator` are one run. A killed process releases the lock.

    Raises DataError if another run holds the lock.
    """
    lock = FileLock(path.with_suffix(".lock"))
    if is_main(accelerator):
        try:
            lock.acquire(timeout=0)
        except Timeout as error:
            raise DataError(
                f"another run computes the same features into {path.parent}: wait for it, or stop it"
            ) from error
    wait(accelerator)
    try:
        yield
        wait(accelerator)
    finally:
        lock.release()


def is_main(accelerator: Accelerator | None) -> bool:
    """Whether this process is the first of its run."""
    return accelerator is None or accelerator.is_main_process


def wait(accelerator: Accelerator | None) -> None:
    """Waits for the run's other processes, if there are any."""
    if accelerator is not None:
        accelerator.wait_for_everyone()


def announce_size(
    description: str, each: int, photographs: int, needed: int, folder: Path, advice: str
) -> None:
    """Prints what the features of this many `photographs` take on the disk, at `each` bytes for one. `needed`
    bytes are still to be written into `folder`. Raises DataError, which ends with `advice`, if the disk is
    too small."""
    free = shutil.disk_usage(folder).free
    log_line(
        f"{description}: {decimal(each)} for each of {photographs:,} photographs, {decimal(needed)} to be "
        f"written into {folder} ({decimal(free)} free)"
    )
    if needed > free:
        raise DataError(
            f"the features need {decimal(needed)} in {folder}, which has {decimal(free)} free: {advice}"
        )
