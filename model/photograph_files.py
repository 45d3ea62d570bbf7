"""Finds the photographs in a folder, and the files that a list names. Imports without torch and Pillow."""

import os
import stat
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

SUFFIXES = frozenset(
    {
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp"),
        *(".tif", ".tiff", ".avif", ".heic", ".heif", ".hif"),
    }
)
"""Suffixes, in lower case, of the files in a folder that count as photographs when no list names them."""

_NEVER = frozenset(
    {
        # Thumbnails and recycle bins of Synology, QNAP, Windows and macOS.
        *("@eadir", "@tmp", "@recycle", "@recently-snapshot", "#recycle", "#snapshot"),
        *("$recycle.bin", "recycler", "system volume information", "__macosx", "lost+found"),
    }
)
_HEAD_BYTES = 16
_MAGIC = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"II*\0", b"MM\0*")
_BRANDS = frozenset(
    {b"avif", b"avis", b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}
)


def photographs_below(folder: Path, refuse: Callable[[OSError], NoReturn]) -> Iterator[Path]:
    """All photographs below `folder`, sorted by name within each folder; folders are read lazily.

    A photograph is a file with one of the `SUFFIXES`, or a file without a suffix whose first bytes are those
    of such a format. Hidden files and folders, thumbnails, recycle bins and pipes are skipped. Linked folders
    come last, and each folder is read once, so cycles of links end. `refuse` gets the error of a folder that
    cannot be read and raises its own, because photographs skipped in silence would seem done.
    """
    starts = [folder]
    visited: set[tuple[int, int]] = set()
    for start in starts:
        for parent, folders, names in os.walk(start, onerror=refuse):
            status = os.stat(parent)
            if (status.st_dev, status.st_ino) in visited:
                folders.clear()
                continue
            visited.add((status.st_dev, status.st_ino))
            folders[:] = sorted(name for name in folders if may_be_looked_at(name))
            # os.walk lists linked folders but does not enter them.
            linked = (Path(parent, name) for name in folders if os.path.islink(os.path.join(parent, name)))
            starts += [link for link in linked if not _leads_above(link, folder)]
            for name in sorted(names):
                path = Path(parent, name)
                if may_be_looked_at(name) and not _is_special(path) and is_photograph(path):
                    yield path


def _is_special(path: Path) -> bool:
    """Whether this is a pipe, a socket or a device, on which a reader may wait for ever. A link that leads
    nowhere is none of these: it is found, and then reported as unreadable."""
    try:
        return not stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return False


def is_photograph(path: Path) -> bool:
    """Whether a file is a photograph, by its suffix, or by its first bytes if it has no suffix."""
    suffix = path.suffix.lower()
    if suffix:
        return suffix in SUFFIXES
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError:
        return False
    return (
        head.startswith(_MAGIC)
        or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")
        or (head[:2] == b"BM" and head[6:10] == bytes(4))
        or (head[4:8] == b"ftyp" and head[8:12] in _BRANDS)
    )


class ListedPhotographs:
    """Finds the files that a list names in a folder, even if the list spells a name in another Unicode form
    (macOS writes `é` as two characters) or in different case. Reads each folder once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._names: dict[Path, dict[str, list[str]]] = {}

    def find(self, name: str) -> Path:
        """The path of the file that `name` means, relative to the folder: the file with exactly this name, or
        else the only one whose name differs in nothing but Unicode form and case. If there is none, the
        path as written."""
        written = self._folder / name
        if os.path.exists(written):
            return written
        path = self._folder
        for part in Path(name).parts:
            if not os.path.exists(path / part):
                alike = self._alike(path, part)
                if len(alike) != 1:
                    return written
                part = alike[0]
            path /= part
        return path

    def _alike(self, folder: Path, name: str) -> list[str]:
        if folder not in self._names:
            names: dict[str, list[str]] = {}
            try:
                for found in os.listdir(folder):
                    names.setdefault(_folded(found), []).append(found)
            except OSError:
                # Not a folder: it is a shard, or does not exist.
                names = {}
            self._names[folder] = names
        return self._names[folder].get(_folded(name), [])


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def may_be_looked_at(name: str) -> bool:
    """Whether a file or folder of that name is neither hidden, nor a thumbnail, nor in a waste bin."""
    return not name.startswith(".") and name.lower() not in _NEVER


def _leads_above(link: Path, folder: Path) -> bool:
    """Whether a link leads to `folder` or a folder above it, which would then be searched as a whole."""
    return Path(os.path.realpath(folder)).is_relative_to(os.path.realpath(link))
