"""Photographs of every kind that users send, made on the spot. The picture is always the same: 48 x 32
pixels, the left half red, the right half blue."""

import base64
import struct
import zlib
from io import BytesIO

import numpy as np
from PIL import Image

RED, BLUE = (220, 30, 30), (30, 30, 220)


def picture(width: int = 48, height: int = 32) -> Image.Image:
    image = Image.new("RGB", (width, height), RED)
    image.paste(BLUE, (width // 2, 0, width, height))
    return image


def encode(image: Image.Image, form: str, **options: object) -> bytes:
    buffer = BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def jpeg(width: int = 48, height: int = 32) -> bytes:
    return encode(picture(width, height), "JPEG", quality=95, subsampling=0)


def cmyk_jpeg(**options: object) -> bytes:
    return encode(picture().convert("CMYK"), "JPEG", quality=95, **options)


def exif_rotated(form: str, orientation: int) -> bytes:
    """Stored so that a viewer that honours the orientation shows `picture()`."""
    undo = {
        1: None,
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }[orientation]
    stored = picture() if undo is None else picture().transpose(undo)
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encode(stored, form, exif=exif.tobytes(), quality=95)


def animated(form: str) -> bytes:
    frames = [Image.new("RGB", (48, 32), colour) for colour in ("lime", "black")]
    return encode(picture(), form, save_all=True, append_images=frames, duration=100, lossless=True)


def _png(width: int, height: int, depth: int, colour_type: int, rows: bytes) -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def png_16_bit_grey() -> bytes:
    """256 x 1 pixels from black to white; all but one hundredth of the values are over 255."""
    values = np.arange(256, dtype=">u2") * 257
    return _png(256, 1, 16, 0, b"\0" + values.tobytes())


def png_16_bit_rgb() -> bytes:
    """`picture()` with 16 bits a channel, which Pillow cannot write."""
    values = np.asarray(picture()).astype(">u2") * 257
    return _png(48, 32, 16, 2, b"".join(b"\0" + row.astype(">u2").tobytes() for row in values))


def png_header_of(width: int, height: int) -> bytes:
    """Claims to be huge in 70 bytes."""
    return _png(width, height, 8, 2, b"")


# Encoded once with libheif, for the decoder that we ship cannot write: `picture()`, upright and on its side.
HEIC = base64.b64decode(
    "AAAAHGZ0eXBoZWljAAAAAG1pZjFoZWljbWlhZgAAAX1tZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAAAAAAAAAAAA"
    "ACJpbG9jAAAAAERAAAEAAQAAAAABoQABAAAAAAAAACkAAAAjaWluZgAAAAAAAQAAABVpbmZlAgAAAAABAABodmMxAAAAAA5waXRt"
    "AAAAAAABAAAA/WlwcnAAAADdaXBjbwAAAHZodmNDAQNwAAAAkAAAAAAAHvAA/P34+AAADwNgAAEAGEABDAH//wNwAAADAJAAAAMA"
    "AAMAHroCQGEAAQAqQgEBA3AAAAMAkAAAAwAAAwAeoCCBBZbq5Ka5uAhoMCAAAAMDIAAAAwAhYgABAAZEAcFzwIkAAAATY29scm5j"
    "bHgAAQANAAaAAAAAFGlzcGUAAAAAAAAAQAAAAEAAAAAoY2xhcAAAADAAAAABAAAAIAAAAAH////wAAAAAv///+AAAAACAAAAEHBp"
    "eGkAAAAAAwgICAAAABhpcG1hAAAAAAAAAAEAAQWBAgMFhAAAADFtZGF0AAAAJSgBr1j5Et3/zBv/czIagGc77+NQXMtPuGoWnjuU"
    "o7ul0ckuYsA="
)
HEIC_ROTATED = base64.b64decode(
    "AAAAHGZ0eXBoZWljAAAAAG1pZjFoZWljbWlhZgAAAchtZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAAAAAAAAAAAA"
    "ADRpbG9jAAAAAERAAAIAAQAAAAAB7AABAAAAAAAAACkAAgAAAAACFQABAAAAAAAAACQAAAA4aWluZgAAAAAAAgAAABVpbmZlAgAA"
    "AAABAABodmMxAAAAABVpbmZlAgAAAQACAABFeGlmAAAAAA5waXRtAAAAAAABAAABB2lwcnAAAADmaXBjbwAAAHZodmNDAQNwAAAA"
    "kAAAAAAAHvAA/P34+AAADwNgAAEAGEABDAH//wNwAAADAJAAAAMAAAMAHroCQGEAAQAqQgEBA3AAAAMAkAAAAwAAAwAeoCCBBZbq"
    "5Ka5uAhoMCAAAAMDIAAAAwAhYgABAAZEAcFzwIkAAAATY29scm5jbHgAAQANAAaAAAAAFGlzcGUAAAAAAAAAQAAAAEAAAAAoY2xh"
    "cAAAACAAAAABAAAAMAAAAAH////gAAAAAv////AAAAACAAAAEHBpeGkAAAAAAwgICAAAAAlpcm90AwAAABlpcG1hAAAAAAAAAAEA"
    "AQaBAgMFhIYAAAAaaXJlZgAAAAAAAAAOY2RzYwACAAEAAQAAAFVtZGF0AAAAJSgBr1j5Et3/5TTkdRl/PnLxzDULRqv5lddxetqa"
    "bqFYe35XUHAAAAAGRXhpZgAATU0AKgAAAAgAAQESAAMAAAABAAYAAAAAAAA="
)
