"""Camera raw files. The largest JPEG embedded in one is used as the photograph."""

import re

from PIL import ExifTags, Image

from sigrl.service.errors import UnsupportedImageError
from sigrl.service.images.jpeg_markers import JpegMarkers, read_markers
from sigrl.service.images.tiff_directories import is_tiff, read_directories

_START = re.compile(rb"\xff\xd8\xff[\xc0-\xfe]")
_SMALLEST_SIDE = 224
_MOST_STARTS = 4_096
_MOST_READ = 32
"""The largest number of embedded pictures whose scans are read to their end."""

# (offset, magic bytes, name) of the raw formats that are not TIFF.
_OTHERS = (
    (4, b"ftypcrx", "a Canon raw file (CR3)"),
    (0, b"FUJIFILMCCD-RAW", "a Fujifilm raw file (RAF)"),
    (0, b"IIU\0", "a Panasonic raw file (RW2)"),
    (0, b"IIRO", "an Olympus raw file (ORF)"),
    (0, b"IIRS", "an Olympus raw file (ORF)"),
    (0, b"MMOR", "an Olympus raw file (ORF)"),
    (0, b"FOVb", "a Sigma raw file (X3F)"),
)


def raw_kind(data: bytes) -> str | None:
    """The kind of raw file in words, or None if the data is not a raw file. Raises ImageTooLargeError as
    `read_directories` does."""
    for offset, magic, name in _OTHERS:
        if data.startswith(magic, offset):
            return name
    if not is_tiff(data):
        return None
    if data[8:10] == b"CR":
        return "a Canon raw file (CR2)"
    return "a camera's raw file" if any(each.is_raw for each in read_directories(data)) else None


def embedded_photograph(data: bytes, kind: str) -> bytes:
    """The largest JPEG in a raw file. If the JPEG has no EXIF data, it gets the raw file's orientation.
    `kind` is the result of `raw_kind`. Raises UnsupportedImageError if the file has no usable JPEG."""
    found = _largest_jpeg(data)
    if found is None:
        raise UnsupportedImageError(
            f"the file is {kind} and contains no JPEG that can be used",
            "develop it and export it as a JPEG",
        )
    start, markers = found
    jpeg = data[start : markers.end]
    if markers.exif_segments or not is_tiff(data):
        return jpeg
    directories = read_directories(data)
    if not directories or not 1 < directories[0].orientation <= 8:
        return jpeg
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = directories[0].orientation
    content = exif.tobytes()
    return jpeg[:2] + b"\xff\xe1" + (len(content) + 2).to_bytes(2, "big") + content + jpeg[2:]


def _largest_jpeg(data: bytes) -> tuple[int, JpegMarkers] | None:
    best: tuple[int, JpegMarkers] | None = None
    position = read = 0
    for _ in range(_MOST_STARTS):
        hit = _START.search(data, position)
        if hit is None or read == _MOST_READ:
            break
        markers = read_markers(data, hit.start())
        read += markers.scans > 0
        # A whole picture is skipped, with the thumbnail that lies within its EXIF data.
        position = markers.end if markers.scans and markers.end else hit.start() + 2
        if not markers.common or not markers.scans or markers.end is None:
            continue
        if min(markers.width, markers.height) < _SMALLEST_SIDE or markers.excess is not None:
            continue
        if best is None or markers.width * markers.height > best[1].width * best[1].height:
            best = hit.start(), markers
    return best
