"""Checks PNG, GIF and BMP files without decoding a pixel."""

import zlib

from sigrl.service.errors import DamagedImageError, ImageTooLargeError
from sigrl.service.images.jpeg_markers import excessive

_MOST_CHUNKS = 65_536
_MOST_TEXT = 256 * 2**10
"""The largest text that is kept, in bytes after decompression. A text may contain the orientation."""
_MOST_TEXTS = 2**20
MOST_PROFILE = 2**20
"""The largest ICC profile that is applied, in bytes."""
_MOST_EXTENSION_BLOCKS = 8_192
_MOST_RUN_LENGTH_BYTES = 8 * 2**20
"""Pillow decodes run lengths in Python, in a second per 5 MB."""
_PNG = b"\x89PNG\r\n\x1a\n"


def without_large_texts(data: bytes) -> bytes:
    """Removes the texts and the profile that are too large to be read from a PNG. Returns the same bytes if
    there are none. Raises ImageTooLargeError for a PNG with too many chunks."""
    position, begin, room, has_profile = len(_PNG), 0, _MOST_TEXTS, False
    kept: list[bytes] = []
    for _ in range(_MOST_CHUNKS):
        if position + 8 > len(data):
            break
        end = position + 12 + int.from_bytes(data[position : position + 4], "big")
        kind, is_large = data[position + 4 : position + 8], False
        content = memoryview(data)[position + 8 : end - 4]
        if kind == b"iCCP":
            is_large = has_profile or _inflated(kind, content) > MOST_PROFILE
            has_profile = True
        elif kind in (b"tEXt", b"zTXt", b"iTXt"):
            # When no room is left, nothing more is inflated: 50,000 chunks of 1 kB may inflate to gigabytes.
            size = _inflated(kind, content) if room > 0 else _MOST_TEXT + 1
            room -= size
            is_large = size > _MOST_TEXT
        if is_large:
            kept.append(data[begin:position])
            begin = end
        position = end
        if kind == b"IEND":
            break
    else:
        raise excessive(f"the PNG has more than {_MOST_CHUNKS:,} chunks", ImageTooLargeError)
    return b"".join([*kept, data[begin:]]) if kept else data


def check_gif(data: bytes) -> None:
    """Raises DamagedImageError for a GIF with too many comments before its first picture: the time that
    Pillow takes for them grows with the square of their number."""
    position = 13 + _table_bytes(data[10]) if len(data) > 10 else len(data)
    blocks = 0
    while position + 1 < len(data) and data[position] == 0x21:
        position += 2
        while position < len(data) and data[position]:
            position += 1 + data[position]
            blocks += 1
            if blocks > _MOST_EXTENSION_BLOCKS:
                raise excessive("the GIF has more than 2 MiB of comments", DamagedImageError)
        position += 1


def check_bmp(data: bytes) -> None:
    """Raises ImageTooLargeError for a large BMP that is compressed by run lengths."""
    has_compression = int.from_bytes(data[14:18], "little") >= 40
    compression = int.from_bytes(data[30:34], "little") if has_compression else 0
    if compression in (1, 2) and len(data) > _MOST_RUN_LENGTH_BYTES:
        detail = f"the BMP has more than {_MOST_RUN_LENGTH_BYTES >> 20} MiB of run lengths"
        raise excessive(detail, ImageTooLargeError)


def _table_bytes(flags: int) -> int:
    return 3 * 2 ** ((flags & 7) + 1) if flags & 0x80 else 0


def _inflated(kind: bytes, content: memoryview) -> int:
    """Bytes of a chunk's content after decompression, which stops at `MOST_PROFILE` + 1."""
    if kind == b"tEXt":
        return len(content)
    # The compressed part comes after a keyword of at most 79 bytes and some other fields.
    start = bytes(content[:80]).find(b"\0")
    if start < 0 or (kind == b"iTXt" and bytes(content[start + 1 : start + 2]) != b"\x01"):
        return len(content)
    start += 2
    if kind == b"iTXt":
        fields = bytes(content[start + 1 : start + 257]).split(b"\0", 2)
        if len(fields) < 3:
            return len(content)
        start += 3 + len(fields[0]) + len(fields[1])
    try:
        return len(zlib.decompressobj().decompress(content[start:], MOST_PROFILE + 1))
    except zlib.error:
        return len(content)
