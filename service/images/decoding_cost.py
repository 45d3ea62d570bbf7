"""Estimates from its header what it costs to decode a photograph."""

from io import BytesIO

from PIL import Image

from sigrl.service.images.jpeg_markers import read_markers

# Bytes per pixel at the peak, rounded up; measured with Pillow 13 (libjpeg-turbo 3.2, libwebp 1.6, libavif
# 1.4, libheif 1.23). For WebP and AVIF there are several copies of the picture: in the decoder, as a canvas
# and as bytes.
_BYTES_A_PIXEL = {"PNG": 5, "GIF": 5, "BMP": 5, "TIFF": 10, "WEBP": 17, "AVIF": 14, "HEIF": 14}
_BASELINE_BYTES, _COEFFICIENT_BYTES = 5, 2
_BAND_BYTES = 32 * 2**20
"""For the reduced picture, and for the bands from which it is made."""
_ROW_BYTES = 16
"""For Pillow's pointer to a row, and the row's padding."""

_CHEAP_FORMATS = ("JPEG", "MPO", "PNG")
_CHEAP_PIXELS, _CHEAP_BYTES, _CHEAP_SCANS = 2_000_000, 2 * 2**20, 32


def decoding_bytes(image: Image.Image) -> int:
    """Upper bound, in bytes, of the peak memory that decoding an opened image takes, without its file."""
    pixels = image.width * image.height
    if image.format in ("JPEG", "MPO"):
        # With several scans, the coefficients of the whole picture are kept until the last one, whatever size
        # is requested.
        markers = read_markers(_content(image))
        coefficients = _COEFFICIENT_BYTES * markers.components if markers.scans != 1 else 0
        each = _BASELINE_BYTES + coefficients
    else:
        each = _BYTES_A_PIXEL.get(image.format or "", max(_BYTES_A_PIXEL.values()))
    return pixels * each + image.height * _ROW_BYTES + min(_BAND_BYTES, pixels * 16)


def is_cheap(image: Image.Image) -> bool:
    """Whether the image is a small JPEG or PNG, which is decoded in a fraction of a second whatever its file
    contains."""
    if image.format not in _CHEAP_FORMATS or image.width * image.height > _CHEAP_PIXELS:
        return False
    content = _content(image)
    if len(content) > _CHEAP_BYTES:
        return False
    return image.format == "PNG" or read_markers(content).scans <= _CHEAP_SCANS


def _content(image: Image.Image) -> bytes:
    file = getattr(image, "fp", None)
    # This shares the bytes and does not copy them.
    return file.getvalue() if isinstance(file, BytesIO) else b""
