"""Files that are small, or cheap to make, and cost a decoder much."""

import struct
import zlib
from io import BytesIO

import numpy as np
from PIL import Image

_PNG = b"\x89PNG\r\n\x1a\n"
_PIECE = 1 << 20


def webp(width: int, height: int) -> bytes:
    """An ordinary photograph, with shades and some noise."""
    shades = np.linspace(0, 255, 64, dtype=np.uint8)
    small = np.stack(np.broadcast_arrays(shades[:, None], shades[None], shades[::-1, None]), axis=-1)
    file = BytesIO()
    Image.fromarray(small).resize((width, height)).save(file, "WEBP", quality=60, method=0)
    return file.getvalue()


def black_png(width: int, height: int, channels: int = 1) -> bytes:
    """`channels`: 1 for grey, 3 for RGB, 4 for RGBA."""
    colour_type = {1: 0, 3: 2, 4: 6}[channels]
    header = struct.pack(">IIBBBBB", width, height, 8, colour_type, 0, 0, 0)
    left = height * (1 + channels * width)
    packer = zlib.compressobj(1)
    packed = bytearray()
    while left > 0:
        packed += packer.compress(bytes(min(left, _PIECE)))
        left -= _PIECE
    packed += packer.flush()
    return _PNG + b"".join(_chunk(*each) for each in ((b"IHDR", header), (b"IDAT", packed), (b"IEND", b"")))


def many_scans(side: int, scans: int) -> bytes:
    """A square grey progressive JPEG whose scans refine nothing, each a full pass over the picture."""
    blocks = (-(-side // 8)) ** 2
    # A run of 2^14 + (2^14 - 1) blocks without a coefficient: the code, one bit, and fourteen extra bits.
    bits = "011111111111111" * -(-blocks // 32_767)
    padded = bits.ljust(-(-len(bits) // 8) * 8, "1")
    run = int(padded, 2).to_bytes(len(padded) // 8, "big").replace(b"\xff", b"\xff\0")
    table = bytes([1] + 15 * [0])
    start = (
        b"\xff\xd8"
        + _segment(0xDB, bytes(1) + 64 * b"\1")
        + _segment(0xC2, struct.pack(">BHHBBBB", 8, side, side, 1, 1, 0x11, 0))
        + _segment(0xC4, bytes(1) + table + b"\0")
        + _segment(0xC4, b"\x10" + table + b"\xe0")
    )
    first = _segment(0xDA, bytes([1, 1, 0, 0, 0, 0])) + bytes(-(-blocks // 8))
    refinement = _segment(0xDA, bytes([1, 1, 0, 1, 63, 0x10])) + run
    return start + first + scans * refinement + b"\xff\xd9"


def many_segments(photograph: bytes, mebibytes: int) -> bytes:
    """A JPEG with so much of APP1 before its picture."""
    segment = _segment(0xE1, b"Exif\0\0" + bytes(1000))
    return photograph[:2] + segment * ((mebibytes << 20) // len(segment)) + photograph[2:]


def fill_bytes(photograph: bytes, count: int) -> bytes:
    """A JPEG with so many bytes 0xFF before a marker, which the standard allows."""
    return photograph[:2] + count * b"\xff" + photograph[2:]


def many_strips(strips: int) -> bytes:
    """A TIFF one pixel wide, each row of which is a strip of its own."""
    counted = struct.pack("<I", 8) * strips, struct.pack("<I", 1) * strips
    body = bytes(8) + b"".join(counted)
    tags = [
        *((256, 4, 1, 1), (257, 4, 1, strips), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1)),
        *((273, 4, strips, 16), (277, 3, 1, 1), (278, 4, 1, 1), (279, 4, strips, 16 + 4 * strips)),
    ]
    directory = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", *tag) for tag in tags) + bytes(4)
    return b"II*\0" + struct.pack("<I", 8 + len(body)) + body + directory


def float_tiff(width: int, height: int) -> bytes:
    """A compressed TIFF of float32 zeros: bytes a thousandth of the pixels'."""
    packed = zlib.compress(bytes(4 * width * height), 1)
    tags = [
        *((256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 32), (259, 3, 1, 8), (262, 3, 1, 1)),
        *((273, 4, 1, 8), (277, 3, 1, 1), (278, 4, 1, height), (279, 4, 1, len(packed)), (339, 3, 1, 3)),
    ]
    directory = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", *tag) for tag in tags) + bytes(4)
    return b"II*\0" + struct.pack("<I", 8 + len(packed)) + packed + directory


def _segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


def _chunk(kind: bytes, content: bytes | bytearray) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
