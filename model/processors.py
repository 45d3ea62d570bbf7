"""How many processors this process may use, which is often fewer than the machine has."""

import math
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path, PurePosixPath
from threading import Lock
from typing import Any

_CGROUPS = Path("/sys/fs/cgroup")
_OWN_CGROUPS = Path("/proc/self/cgroup")
_BLAS_THREADS = "OPENBLAS_NUM_THREADS"
_limiting = Lock()


def available_processors() -> int:
    """The number of processors that this process may use, at least 1: the smallest of the machine's
    processors, the process's affinity, and the quotas of its cgroups (v1 and v2), rounded up."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([affinity, *map(math.ceil, cgroup_quotas())]))


def bound_native_threads() -> None:
    """Limits the threads of OpenMP, and so of PyTorch, to the processors that the cgroup grants, unless
    OMP_NUM_THREADS is set. OpenMP by itself respects only the affinity."""
    if "OMP_NUM_THREADS" in os.environ or min(cgroup_quotas(), default=math.inf) >= (os.cpu_count() or 1):
        return
    os.environ["OMP_NUM_THREADS"] = str(available_processors())
    if (torch := sys.modules.get("torch")) is not None:
        torch.set_num_threads(available_processors())


def keep_blas_from_spinning() -> None:
    """Gives NumPy's products one thread unless OPENBLAS_NUM_THREADS is set. OpenBLAS's other threads would
    wait for the next product in a loop: after one of 0.3 ms they keep a processor busy for 30 ms. Call this
    before NumPy is imported, in a process of our own; see `blas_on_one_thread` for others."""
    os.environ.setdefault(_BLAS_THREADS, "1")


@contextmanager
def blas_on_one_thread() -> Iterator[None]:
    """Gives NumPy's products one thread for the duration of a block, in all threads of the process, unless
    OPENBLAS_NUM_THREADS is set. For programs that are not ours; see `keep_blas_from_spinning`."""
    if _BLAS_THREADS in os.environ:
        yield
        return
    # If two limits overlapped, the second to end would restore the first one's limit.
    with _limiting, _blas().limit(limits=1):
        yield


@cache
def _blas() -> Any:
    # Its import takes longer than anything else here, and commands do not need it.
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController().select(user_api="blas")


def cgroup_quotas(own: Path = _OWN_CGROUPS, mounted: Path = _CGROUPS) -> Iterator[float]:
    """Processors that each cgroup of this process grants, from its own up to the root. Cgroups without a
    limit are skipped.

    Args:
        own: the file that lists the cgroups of this process, see cgroups(7).
        mounted: where cgroups are mounted.
    """
    try:
        lines = own.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            folder, read = mounted, _quota_v2
        elif "cpu" in controllers.split(","):
            folder, read = mounted / "cpu", _quota_v1
        else:
            continue
        within = PurePosixPath(path.lstrip("/"))
        # In a container the path may be the host's and not exist here; the root always does.
        for each in (within, *within.parents):
            quota = read(folder / each)
            if quota is not None:
                yield quota


def _quota_v2(folder: Path) -> float | None:
    try:
        quota, period = (folder / "cpu.max").read_text().split()
        return int(quota) / int(period)
    except (OSError, ValueError):
        # "max" is not a number and means no limit.
        return None


def _quota_v1(folder: Path) -> float | None:
    try:
        quota = int((folder / "cpu.cfs_quota_us").read_text())
        period = int((folder / "cpu.cfs_period_us").read_text())
    except (OSError, ValueError):
        return None
    return quota / period if quota > 0 else None
