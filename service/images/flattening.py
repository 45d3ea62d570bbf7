"""Converts an image of any Pillow mode to one with 8 bits per channel and no transparency, and reduces large
pictures. Works in bands, so that it needs little memory beyond the picture itself."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

_PIXELS_KEPT = 4_000_000
_SIDE_KEPT = 8_192
_BAND_PIXELS = 1_000_000
_BITS_PER_SAMPLE, _PHOTOMETRIC, _SAMPLE_FORMAT = 258, 262, 339
_MIN_IS_WHITE, _UNSIGNED = 0, 1


def flatten(image: Image.Image, minimum_side: int | None = None) -> Image.Image:
    """Converts a loaded image to RGB, L, CMYK or LAB. A transparent picture is put on white.

    Args:
        image: any mode that its file may have.
        minimum_side: when given, a picture of more than 4 megapixels, or with a side over 8,192 pixels, is
            reduced by integer factors, one for each side, to sides of at least twice this many pixels.

    Raises:
        ValueError: the mode cannot be converted.
    """
    factors = reduction(image.size, minimum_side)
    values = _Greys.of(image)
    rows = max(_BAND_PIXELS // (image.width * factors[1]), 1) * factors[1]
    if rows >= image.height:
        return _reduce(_flat(image, values), factors)
    size = math.ceil(image.width / factors[0]), math.ceil(image.height / factors[1])
    flattened: Image.Image | None = None
    for top in range(0, image.height, rows):
        band = image.crop((0, top, image.width, min(top + rows, image.height)))
        part = _reduce(_flat(band, values), factors)
        if flattened is None:
            flattened = Image.new(part.mode, size)
        flattened.paste(part, (0, top // factors[1]))
    assert flattened is not None
    return flattened


def reduction(size: tuple[int, int], minimum_side: int | None) -> tuple[int, int]:
    """The integer factors by which width and height are divided; see `flatten`."""
    if minimum_side is None or (size[0] * size[1] <= _PIXELS_KEPT and max(size) <= _SIDE_KEPT):
        return 1, 1
    return max(size[0] // (2 * minimum_side), 1), max(size[1] // (2 * minimum_side), 1)


def _reduce(image: Image.Image, factors: tuple[int, int]) -> Image.Image:
    return image if factors == (1, 1) else image.reduce(factors)


def _flat(image: Image.Image, greys: "_Greys | None") -> Image.Image:
    if greys is not None:
        return Image.fromarray(greys.levels(image))
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        canvas = Image.new("RGB", image.size, "white")
        canvas.paste(layer, mask=layer.getchannel("A"))
        return canvas
    return image if image.mode in ("RGB", "L", "CMYK", "LAB") else image.convert("RGB")


@dataclass(frozen=True)
class _Greys:
    """Converts greys of more than 8 bits to 256 levels. 16-bit greys are scaled. All others, which have no
    agreed range, are stretched from the darkest value to the brightest."""

    is_unsigned: bool
    is_inverted: bool
    darkest: float
    brightest: float

    @classmethod
    def of(cls, image: Image.Image) -> "_Greys | None":
        if image.mode in ("I", "F"):
            is_unsigned, is_inverted = _is_unsigned(image), _is_inverted(image)
            rows = max(_BAND_PIXELS // image.width, 1)
            lowest, highest = math.inf, -math.inf
            for top in range(0, image.height, rows):
                band = image.crop((0, top, image.width, min(top + rows, image.height)))
                values = _numbers(band, is_unsigned)
                lowest, highest = min(lowest, float(values.min())), max(highest, float(values.max()))
            return cls(is_unsigned, is_inverted, lowest, highest)
        if image.mode.startswith("I;16"):
            return cls(True, _is_inverted(image), 0.0, 65_535.0)
        return None

    def levels(self, image: Image.Image) -> npt.NDArray[np.uint8]:
        """The levels of an image or a band of it, uint8 [H, W]."""
        if image.mode.startswith("I;16"):
            found = (np.asarray(image) >> 8).astype(np.uint8)
        elif self.darkest == self.brightest:
            return np.full((image.height, image.width), 128, dtype=np.uint8)
        else:
            scale = 255.0 / (self.brightest - self.darkest)
            values = (_numbers(image, self.is_unsigned) - self.darkest) * scale
            found = values.round().astype(np.uint8)
        return np.asarray(255 - found if self.is_inverted else found, dtype=np.uint8)


def _numbers(image: Image.Image, is_unsigned: bool) -> npt.NDArray[np.float64]:
    values = np.asarray(image)
    if is_unsigned and values.dtype == np.int32:
        values = values.view(np.uint32)
    return np.nan_to_num(values.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)


def _is_unsigned(image: Image.Image) -> bool:
    """Whether the file has unsigned 32-bit values, which Pillow reads as signed ones."""
    return _tag(image, _BITS_PER_SAMPLE) == 32 and _tag(image, _SAMPLE_FORMAT, _UNSIGNED) == _UNSIGNED


def _is_inverted(image: Image.Image) -> bool:
    """Whether 0 is white in the file (min-is-white), which Pillow respects only up to 8 bits."""
    return _tag(image, _PHOTOMETRIC) == _MIN_IS_WHITE


def _tag(image: Image.Image, number: int, missing: int | None = None) -> int | None:
    tags = getattr(image, "tag_v2", None)
    value = missing if tags is None else tags.get(number, missing)
    first = value[0] if isinstance(value, tuple) and value else value
    return first if isinstance(first, int) else missing
