"""Reads a TIFF's directories without decoding a pixel."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from sigrl.service.errors import ImageTooLargeError
from sigrl.service.images.jpeg_markers import excessive

_MOST_DIRECTORIES = 64
_MOST_ENTRIES = 1_024
_MOST_VALUES = 65_536
"""The largest number of values in one entry, such as the offsets of strips or tiles."""
_MOST_VALUE_BYTES = 32 * 2**20

# Bytes per value, by the number of the type in TIFF 6.0 and BigTIFF.
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}
_SIZES |= {13: 4, 16: 8, 17: 8, 18: 8}
_WIDTH, _LENGTH, _COMPRESSION, _PHOTOMETRIC, _ORIENTATION = 256, 257, 259, 262, 274
_STRIPS, _ROWS_PER_STRIP, _PLANAR, _SAMPLES = 273, 278, 284, 277
_TILES, _TILE_WIDTH, _TILE_LENGTH = 324, 322, 323
_SUB_DIRECTORIES, _DNG_VERSION = 330, 50706
_COLOUR_FILTER_ARRAY, _LINEAR_RAW = 32803, 34892
_RAW_COMPRESSIONS = frozenset({32767, 34713, 65535})
"""Those of Sony, Nikon and Pentax."""


@dataclass(frozen=True)
class _Entry:
    kind: int
    count: int
    field: int
    """Position of the value or, if it does not fit there, of the value's offset."""
    size: int


@dataclass(frozen=True)
class TiffDirectory:
    """The directory of a page, or of another picture that belongs to a page."""

    width: int
    height: int
    orientation: int
    is_page: bool
    """Whether the directory is in the chain that starts in the header, and not a sub-directory."""
    is_raw: bool
    """Whether the pixels are raw data of a camera sensor."""
    is_whole: bool
    """Whether there is a strip or a tile for each part of the picture. Pillow leaves the rest black."""


def is_tiff(data: bytes) -> bool:
    """Whether the bytes begin like a TIFF or a BigTIFF."""
    return data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def read_directories(data: bytes) -> tuple[TiffDirectory, ...]:
    """The readable directories of a TIFF, at most 64. Raises ImageTooLargeError if they would cost more than
    the picture."""
    return tuple(_Reader(data).directories())


def largest_page(directories: tuple[TiffDirectory, ...]) -> int:
    """Index of the page with the most pixels, the first one if several are equal. Some programs write a small
    copy as the first page."""
    areas = [each.width * each.height for each in directories if each.is_page]
    return areas.index(max(areas)) if areas else 0


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._order = "<" if data[:2] == b"II" else ">"
        self._big = data[2:4] in (b"+\0", b"\0+")
        self._value_bytes = 0

    def directories(self) -> Iterator[TiffDirectory]:
        offset = self._number(8, 8) if self._big else self._number(4, 4)
        waiting, seen = [(offset, True)], set[int]()
        while waiting and len(seen) < _MOST_DIRECTORIES:
            offset, is_page = waiting.pop(0)
            if offset == 0 or offset in seen or offset >= len(self._data):
                continue
            seen.add(offset)
            entries, following = self._entries(offset)
            waiting += [(below, False) for below in self._values(entries, _SUB_DIRECTORIES)]
            if is_page:
                waiting.insert(0, (following, True))
            width, height = self._first(entries, _WIDTH), self._first(entries, _LENGTH)
            yield TiffDirectory(
                width=width,
                height=height,
                orientation=self._first(entries, _ORIENTATION) or 1,
                is_page=is_page,
                is_raw=_DNG_VERSION in entries
                or self._first(entries, _PHOTOMETRIC) in (_COLOUR_FILTER_ARRAY, _LINEAR_RAW)
                or self._first(entries, _COMPRESSION) in _RAW_COMPRESSIONS,
                is_whole=self._is_whole(entries, width, height),
            )

    def _is_whole(self, entries: dict[int, _Entry], width: int, height: int) -> bool:
        if _TILES in entries:
            across, down = (
                self._first(entries, _TILE_WIDTH) or width,
                self._first(entries, _TILE_LENGTH) or height,
            )
            found, needed = entries[_TILES].count, -(-width // max(across, 1)) * -(-height // max(down, 1))
        elif _STRIPS in entries:
            rows = self._first(entries, _ROWS_PER_STRIP) or height
            found, needed = entries[_STRIPS].count, -(-height // max(rows, 1))
        else:
            return True
        planes = self._first(entries, _SAMPLES) if self._first(entries, _PLANAR) == 2 else 1
        return found >= needed * planes

    def _entries(self, offset: int) -> tuple[dict[int, _Entry], int]:
        """(entries by tag, offset of the next directory)."""
        head, length, pointer = (8, 20, 8) if self._big else (2, 12, 4)
        count = self._number(offset, head)
        if count > _MOST_ENTRIES:
            raise excessive(f"the TIFF has a directory of {count:,} entries", ImageTooLargeError)
        entries: dict[int, _Entry] = {}
        for position in range(offset + head, offset + head + count * length, length):
            tag, kind = self._number(position, 2), self._number(position + 2, 2)
            values = self._number(position + 4, pointer)
            size = values * _SIZES.get(kind, 1)
            self._value_bytes += size
            if values > _MOST_VALUES and _SIZES.get(kind, 1) > 1:
                detail = f"the TIFF has {values:,} values in its tag {tag}, at most {_MOST_VALUES:,} are read"
                raise excessive(detail, ImageTooLargeError)
            if self._value_bytes > _MOST_VALUE_BYTES:
                raise excessive(
                    f"the TIFF has more than {_MOST_VALUE_BYTES >> 20} MiB of metadata", ImageTooLargeError
                )
            entries[tag] = _Entry(kind, values, position + 4 + pointer, size)
        return entries, self._number(offset + head + count * length, pointer)

    def _values(self, entries: dict[int, _Entry], tag: int) -> list[int]:
        entry = entries.get(tag)
        if entry is None or entry.kind not in (3, 4, 13, 16, 18):
            return []
        pointer, size = (8 if self._big else 4), _SIZES[entry.kind]
        start = entry.field if entry.size <= pointer else self._number(entry.field, pointer)
        return [self._number(start + n * size, size) for n in range(min(entry.count, _MOST_DIRECTORIES))]

    def _first(self, entries: dict[int, _Entry], tag: int) -> int:
        return next(iter(self._values(entries, tag)), 0)

    def _number(self, position: int, size: int) -> int:
        """An unsigned integer of `size` bytes; 0 beyond the end of the file."""
        form = self._order + {2: "H", 4: "I", 8: "Q"}[size]
        if position + size > len(self._data):
            return 0
        return int(struct.unpack_from(form, self._data, position)[0])
