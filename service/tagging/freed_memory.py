"""What becomes of memory that the process has freed: glibc keeps it, or returns it to the system.

Other C libraries have no such functions, or cannot be opened with `None`; then nothing happens.
"""

import ctypes
import gc
from contextlib import suppress

# Parameters of `mallopt`, from glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_ARENAS = 2
"""Each arena keeps the memory that its threads have freed. By default there are eight arenas per core."""
_LARGEST_KEPT, _MOST_KEPT = 32 * 2**20, 256 * 2**20
"""The most freed bytes that glibc keeps: of a single block, and at the end of an arena."""


def keep_freed_memory() -> None:
    """Makes glibc keep the memory that a forward pass frees for the next one. If glibc returns it to the
    system, the next pass has to get new pages: a hundred thousand of them for eight photographs with a
    ViT-B/16, which takes a sixth of the time."""
    with suppress(AttributeError, OSError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, _LARGEST_KEPT)
        mallopt(_M_TRIM_THRESHOLD, _MOST_KEPT)
        mallopt(_M_ARENA_MAX, _ARENAS)


def end_the_start() -> None:
    """Returns what the start has freed, and exempts everything that exists now from garbage collection. A
    full collection then looks only at what requests made: it takes milliseconds, not a second for all modules
    and schemas."""
    return_freed_memory()
    gc.freeze()


def return_freed_memory() -> None:
    """Frees what only reference cycles still hold, and returns to the system what glibc keeps, of all
    arenas. It takes some milliseconds after `end_the_start`, and the next forward pass
    has to get new pages. For work that is rare and needs more memory than all other work."""
    gc.collect()
    with suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)
