"""Estimates from its header what it costs to decode a photograph."""

from dataclasses import dataclass

from PIL import Image

from sigrl.service.images.decoding import open_with_markers
from sigrl.service.images.files import ImageLimits
from sigrl.service.images.jpeg_markers import JpegMarkers

# Bytes per pixel at the peak, rounded up; measured with Pillow 13 (libjpeg-turbo 3.2, libwebp 1.6, libavif
# 1.4, libheif 1.23). For WebP and AVIF there are several copies of the picture: in the decoder, as a canvas
# and as bytes.
_BYTES_A_PIXEL = {"PNG": 5, "GIF": 5, "BMP": 5, "TIFF": 10, "WEBP": 17, "AVIF": 14, "HEIF": 14}
_BASELINE_BYTES, _COEFFICIENT_BYTES = 5, 2
_BAND_BYTES = 32 * 2**20
"""For the reduced picture, and for the bands from which it is made."""
_ROW_BYTES = 16
"""For Pillow's pointer to a row, and the row's padding."""

_CHEAP_PIXELS, _CHEAP_BYTES, _CHEAP_SCANS = 2_000_000, 2 * 2**20, 32


@dataclass(frozen=True)
class DecodingCost:
    """What it costs to decode a photograph."""

    pixels: int
    """Width times height."""
    memory_bytes: int
    """Upper bound of the peak memory that decoding takes, without the file."""
    is_cheap: bool
    """Whether it is a small JPEG or PNG, which is decoded in a fraction of a second whatever it contains."""


def decoding_cost(data: bytes, limits: ImageLimits) -> DecodingCost:
    """Reads a photograph's header, checks it against the limits, and decodes no pixel. Raises ImageError."""
    image, length, markers = open_with_markers(data, limits)
    with image:
        return DecodingCost(
            image.width * image.height, _memory_bytes(image, markers), _is_cheap(image, markers, length)
        )


def _memory_bytes(image: Image.Image, markers: JpegMarkers | None) -> int:
    pixels = image.width * image.height
    if markers is None:
        each = _BYTES_A_PIXEL.get(image.format or "", max(_BYTES_A_PIXEL.values()))
    else:
        # With several scans, the coefficients of the whole picture are kept until the last one, whatever size
        # is requested.
        each = _BASELINE_BYTES + (_COEFFICIENT_BYTES * markers.components if markers.scans != 1 else 0)
    return pixels * each + image.height * _ROW_BYTES + min(_BAND_BYTES, pixels * 16)


def _is_cheap(image: Image.Image, markers: JpegMarkers | None, length: int) -> bool:
    if image.width * image.height > _CHEAP_PIXELS or length > _CHEAP_BYTES:
        return False
    return image.format == "PNG" if markers is None else markers.scans <= _CHEAP_SCANS
