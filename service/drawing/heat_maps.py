"""Draws a grid of numbers as colours on a photograph."""

from collections.abc import Sequence
from io import BytesIO

import numpy as np
import numpy.typing as npt
from PIL import Image

from sigrl.service.images import decoding as images
from sigrl.service.images.files import ImageLimits

MAX_SIDE = 1024
"""Most pixels on the longer side of a picture."""

# Viridis at even steps. Its lightness rises evenly, so people who do not see colours can read it too.
_VIRIDIS = np.array(
    [
        (68, 1, 84),
        (71, 44, 122),
        (59, 81, 139),
        (44, 113, 142),
        (33, 144, 141),
        (39, 173, 129),
        (92, 200, 99),
        (170, 220, 50),
        (253, 231, 37),
    ],
    np.float32,
)
_COLOUR = 0.55
_UNSEEN = 0.35


def overlay_png(
    photograph: bytes,
    limits: ImageLimits,
    grid: Sequence[Sequence[float]],
    square: float | None,
) -> bytes:
    """A PNG of the photograph with the map on it, as `overlay` draws it. Raises ImageError."""
    with images.open_image(photograph, limits) as image:
        drawn = overlay(images.to_rgb(image, MAX_SIDE), grid, square)
    file = BytesIO()
    drawn.save(file, "PNG", compress_level=3)
    return file.getvalue()


def overlay(photograph: Image.Image, grid: Sequence[Sequence[float]], square: float | None) -> Image.Image:
    """The photograph in grey, scaled down to at most 1024 pixels a side, with the map on the part of it that
    the checkpoint sees; the other parts are dark. The grid has numbers from 0, drawn in violet, to 1, drawn
    in yellow.

    `photograph` is RGB and stays as it is. `square` is the side of the square at the centre that the
    checkpoint sees, as a share of the shorter side; None if it sees the whole photograph.
    """
    scale = min(1.0, MAX_SIDE / max(photograph.size))
    size = (max(1, round(photograph.width * scale)), max(1, round(photograph.height * scale)))
    grey = np.asarray(photograph.resize(size, Image.Resampling.BICUBIC, reducing_gap=2.0).convert("L"))
    canvas = np.repeat(grey[:, :, None].astype(np.float32), 3, axis=2)
    left = top = 0
    width, height = size
    if square is not None:
        width = height = max(1, round(square * min(size)))
        left, top = (size[0] - width) // 2, (size[1] - height) // 2
    here = slice(top, top + height), slice(left, left + width)
    drawn = canvas * _UNSEEN
    drawn[here] = (1 - _COLOUR) * canvas[here] + _COLOUR * colours(grid, (width, height))
    return Image.fromarray(drawn.round().astype(np.uint8))


def colours(grid: Sequence[Sequence[float]], size: tuple[int, int]) -> npt.NDArray[np.float32]:
    """The colours [height, width, 3], 0..255, of a grid of numbers from 0 to 1 that is scaled to `size`
    (width, height)."""
    # Bicubic interpolation overshoots: it would darken the surroundings of a high value.
    values = Image.fromarray(np.asarray(grid, np.float32)).resize(size, Image.Resampling.BILINEAR)
    steps = np.linspace(0, 1, len(_VIRIDIS))
    channels = [np.interp(np.asarray(values), steps, _VIRIDIS[:, channel]) for channel in range(3)]
    return np.stack(channels, axis=2).astype(np.float32)
