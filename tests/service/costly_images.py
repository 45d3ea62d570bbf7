"""Small files that cost a decoder much more than their picture."""

import struct
import zlib

import numpy as np
import sample_images as samples
from PIL import Image

_SOI, _EOI = b"\xff\xd8", b"\xff\xd9"


def jpeg_with(before: bytes) -> bytes:
    """A good JPEG with something put before its first segment."""
    good = samples.jpeg()
    return good[:2] + before + good[2:]


def app_segments(count: int, content: bytes) -> bytes:
    """Segments APP1."""
    return (b"\xff\xe1" + struct.pack(">H", len(content) + 2) + content) * count


def progressive_jpeg(width: int, height: int, scans: int) -> bytes:
    """A grey JPEG with so many scans that refine nothing."""
    # One code each: DC category 0, and an end-of-block run of 2^14 + 14 bits.
    tables = [
        b"\xff\xdb\x00\x43\x00" + b"\x01" * 64,
        b"\xff\xc2" + struct.pack(">HBHHB", 11, 8, height, width, 1) + b"\x01\x11\x00",
        b"\xff\xc4" + struct.pack(">H", 20) + b"\x00" + bytes([1] + [0] * 15) + b"\x00",
        b"\xff\xc4" + struct.pack(">H", 20) + b"\x10" + bytes([1] + [0] * 15) + b"\xe0",
    ]
    blocks = ((width + 7) // 8) * ((height + 7) // 8)
    first = b"\xff\xda\x00\x08\x01\x01\x00\x00\x00\x00" + b"\0" * ((blocks + 7) // 8)
    runs = "0" + "1" * 14
    bits = runs * -(-blocks // 32_767)
    bits += "1" * (-len(bits) % 8)
    refined = int(bits, 2).to_bytes(len(bits) // 8, "big").replace(b"\xff", b"\xff\0")
    scan = b"\xff\xda\x00\x08\x01\x01\x00\x01\x3f\x10" + refined
    return b"".join([_SOI, *tables, first, scan * scans, _EOI])


def blank_png(width: int, height: int, colour: int = 0) -> bytes:
    """A PNG of one value; `colour` is the type in its header: 0 grey, 2 RGB, 6 RGBA."""
    samples_each = {0: 1, 2: 3, 6: 4}[colour]
    packer = zlib.compressobj(1)
    row = bytes(1 + samples_each * width)
    together = max(1, 2**20 // len(row))
    packed = [packer.compress(row * min(together, height - top)) for top in range(0, height, together)]
    header = struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0)
    body = b"".join(packed) + packer.flush()
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def chunk(kind: bytes, content: bytes) -> bytes:
    """One chunk of a PNG."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def run_length_bmp(runs: int) -> bytes:
    """A BMP of 8,000 x 8,000 pixels, with so many runs of one pixel."""
    header = struct.pack("<IiiHHIIiiII", 40, 8_000, 8_000, 1, 8, 1, 0, 0, 0, 256, 0)
    return b"BM" + struct.pack("<IHHI", 1_078, 0, 0, 1_078) + header + bytes(1_024) + b"\1\7" * runs


def tiff(entries: list[tuple[int, int, int, int]], body: bytes = b"") -> bytes:
    """A TIFF of one directory of (tag, type, count, value or offset); `body` begins at offset 8."""
    directory = 8 + len(body)
    packed = b"".join(struct.pack("<HHII", *entry) for entry in sorted(entries))
    head = b"II*\0" + struct.pack("<I", directory)
    return head + body + struct.pack("<H", len(entries)) + packed + bytes(4)


def grey_tiff(values: np.ndarray, bits: int, photometric: int) -> bytes:
    """An uncompressed grey TIFF of unsigned numbers."""
    height, width = values.shape
    body = values.astype({16: "<u2", 32: "<u4"}[bits]).tobytes()
    entries = [
        *((256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, bits), (259, 3, 1, 1)),
        *((262, 3, 1, photometric), (273, 4, 1, 8), (277, 3, 1, 1), (278, 4, 1, height)),
        (279, 4, 1, len(body)),
    ]
    return tiff(entries, body)


def camera_raw(previews: list[bytes], orientation: int = 1) -> bytes:
    """A DNG as far as its directory goes, with pictures in it that no directory points to."""
    entries = [
        *((254, 4, 1, 1), (256, 4, 1, 160), (257, 4, 1, 120), (274, 3, 1, orientation)),
        *((50706, 1, 4, 0x00000401), (262, 3, 1, 32803)),
    ]
    return tiff(entries, b"\0" * 32 + b"\0".join(previews))


def noise_jpeg(width: int, height: int) -> bytes:
    """A JPEG that compresses badly."""
    values = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return samples.encode(Image.fromarray(values), "JPEG")
