"""Which files in a folder are photographs, and which file a list means. Imports without torch and Pillow."""

import os
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
"""Of the files that are taken for photographs where nobody names them, in lower case."""

_NEVER = frozenset(
    {
        # Thumbnails and waste bins of Synology, QNAP, Windows and macOS.
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
    """All photographs below `folder`, by name within each folder; folders are read as needed.

    A photograph is a file with a suffix of `SUFFIXES`, or one without any suffix whose first bytes are those
    of such a format. Hidden files and folders, thumbnails and waste bins are passed over. Folders that links
    lead to come last, each folder once: links that go round in circles end. `refuse` gets the error of a
    folder that cannot be read, and raises its own: left out in silence, its photographs would seem done.
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
            folders[:] = sorted(name for name in folders if _may_be_looked_at(name))
            # os.walk names linked folders and does not enter them.
            linked = (Path(parent, name) for name in folders if os.path.islink(os.path.join(parent, name)))
            starts += [link for link in linked if not _leads_above(link, folder)]
            for name in sorted(names):
                path = Path(parent, name)
                if _may_be_looked_at(name) and is_photograph(path):
                    yield path


def is_photograph(path: Path) -> bool:
    """By its suffix, or by its first bytes where it has none."""
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
    """Finds the files that a list names in a folder, also where the list writes a name otherwise: in another
    Unicode form (macOS writes `é` as two characters), or in other capitals. Reads each folder once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._names: dict[Path, dict[str, list[str]]] = {}

    def find(self, name: str) -> Path:
        """The path of the file that `name`, relative to the folder, means: just this one, or the only one
        whose name differs in nothing but form and capitals. Where there is none, the path as it is
        written."""
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
                # No folder: a shard, or nothing at all.
                names = {}
            self._names[folder] = names
        return self._names[folder].get(_folded(name), [])


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _may_be_looked_at(name: str) -> bool:
    return not name.startswith(".") and name.lower() not in _NEVER


def _leads_above(link: Path, folder: Path) -> bool:
    """Whether a link leads to a folder that `folder` itself lies in: all of it would be searched."""
    return Path(os.path.realpath(folder)).is_relative_to(os.path.realpath(link))
