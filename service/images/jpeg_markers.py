"""Reads a JPEG's markers without decoding a pixel."""

import re
from dataclasses import dataclass

from sigrl.service.errors import (
    DamagedImageError,
    ImageError,
    ImageTooLargeError,
    UnsupportedImageError,
)

JPEG_START = b"\xff\xd8\xff"
_MOST_SEGMENTS = 4_096
_MOST_APP_BYTES = 16 * 2**20
_MOST_EXIF_SEGMENTS = 64
_MOST_FILL = 65_536
MOST_SCANS = 128
"""Progressive encoders write about ten scans. Each scan costs a pass over all pixels."""
_MOST_SCANNED_PIXELS = 1_200_000_000
"""The largest product of scans and pixels: 17 scans of 70 megapixels. Decoding takes three seconds then."""

# In entropy-coded data, FF is followed by 00 or by a restart marker. Additional FFs before a marker are fill
# bytes.
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_FILL = re.compile(rb"\xff+")
_BASELINE, _EXTENDED, _PROGRESSIVE = 0xC0, 0xC1, 0xC2
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_STANDALONE = frozenset({0x01, 0xD8, *range(0xD0, 0xD8)})
_SOS, _EOI, _APP0, _APP1, _APP15 = 0xDA, 0xD9, 0xE0, 0xE1, 0xEF


@dataclass
class JpegMarkers:
    """The counts up to the end of the first picture, or up to the first limit that is exceeded."""

    width: int = 0
    height: int = 0
    components: int = 0
    bits: int = 0
    """Bits per channel."""
    common: bool = False
    """Whether the picture is baseline, extended or progressive, with 8 bits per channel."""
    least_bits_per_block: int = 0
    """Each 8 x 8 block takes a Huffman code for its mean and, in a sequential JPEG, one for the rest."""
    segments: int = 0
    app_bytes: int = 0
    exif_segments: int = 0
    fill: int = 0
    """Number of bytes that belong to no segment."""
    scans: int = 0
    scan_bytes: int = 0
    """Compressed data of all scans."""
    end: int | None = None
    """Offset after the end-of-image marker, or None if there is no such marker."""

    @property
    def lacks_data(self) -> bool:
        """Whether the data cannot be those of a picture of this size, although it ends as it should."""
        blocks = -(-self.width // 8) * -(-self.height // 8)
        return self.end is not None and 8 * self.scan_bytes < self.least_bits_per_block * blocks

    @property
    def excess(self) -> str | None:
        """The first limit that is exceeded, in words, or None."""
        if self.segments > _MOST_SEGMENTS:
            return f"more than {_MOST_SEGMENTS:,} segments"
        if self.app_bytes > _MOST_APP_BYTES:
            return f"more than {_MOST_APP_BYTES >> 20} MiB of metadata"
        if self.exif_segments > _MOST_EXIF_SEGMENTS:
            return f"more than {_MOST_EXIF_SEGMENTS} EXIF segments"
        if self.fill > _MOST_FILL:
            return f"more than {_MOST_FILL:,} bytes of filling"
        if self.scans > MOST_SCANS:
            return f"more than {MOST_SCANS} scans"
        if self.scans * self.width * self.height > _MOST_SCANNED_PIXELS and self.scans > 1:
            return f"{self.scans} or more scans of {self.width:,} x {self.height:,} pixels"
        return None


def read_markers(data: bytes, start: int = 0) -> JpegMarkers:
    """Counts the markers of the JPEG that begins at `start`. Never raises; stops at a limit, and at a frame
    that is not common, such as a camera's lossless raw data."""
    found = JpegMarkers()
    position = start + 2
    while found.excess is None:
        fill = _FILL.search(data, position)
        if fill is None or fill.end() >= len(data):
            break
        found.fill += fill.end() - position - 1
        marker, position = data[fill.end()], fill.end() + 1
        if marker == 0x00:
            found.fill += 2
            continue
        if marker == _EOI:
            found.end = position
            break
        found.segments += 1
        if marker in _STANDALONE:
            continue
        length = int.from_bytes(data[position : position + 2], "big")
        content = data[position + 2 : position + min(length, 8)]
        position += max(length, 2)
        if marker == _SOS:
            found.scans += 1
            following = _MARKER.search(data, position)
            if following is None:
                break
            found.scan_bytes += following.start() - position
            position = following.start()
        elif marker in _FRAMES:
            _read_frame(found, marker, content)
            if not found.common:
                break
        elif _APP0 <= marker <= _APP15:
            found.app_bytes += length
            found.exif_segments += marker == _APP1 and content.startswith(b"Exif")
    return found


def check_jpeg(data: bytes) -> JpegMarkers:
    """Reads a JPEG's markers. Raises ImageTooLargeError if the JPEG would cost too much to decode,
    DamagedImageError if most of it is missing, and UnsupportedImageError if Pillow cannot decode its kind."""
    found = read_markers(data)
    if found.excess is not None:
        raise excessive(f"the JPEG has {found.excess}", ImageTooLargeError)
    if found.bits not in (0, 8):
        raise UnsupportedImageError(
            f"the JPEG has {found.bits} bits per channel", "save it with 8 bits per channel"
        )
    if found.lacks_data:
        raise DamagedImageError(
            f"the JPEG has too few data for {found.width:,} x {found.height:,} pixels",
            "copy the file again: most of the picture is missing",
        )
    return found


def excessive(detail: str, kind: type[ImageError] = DamagedImageError) -> ImageError:
    """The error for a file whose header would cost more than its picture."""
    return kind(detail, "open it in an image editor and save it as a new JPEG or PNG")


def _read_frame(found: JpegMarkers, marker: int, content: bytes) -> None:
    if len(content) < 6:
        return
    found.height, found.width = int.from_bytes(content[1:3], "big"), int.from_bytes(content[3:5], "big")
    found.bits, found.components = content[0], content[5]
    found.common = marker in (_BASELINE, _EXTENDED, _PROGRESSIVE) and found.bits == 8
    if found.common:
        found.least_bits_per_block = 1 if marker == _PROGRESSIVE else 2
