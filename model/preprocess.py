"""Converts an RGB photograph to the image tower's input; training's evaluation and the service share this
implementation. Imports without torch."""

import numpy as np
import numpy.typing as npt
from PIL import Image

from sigrl.model.config import Preprocessing

_FILTERS = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}


def _cut_box(width: int, height: int, size: int, short_side: int) -> tuple[float, float, float, float]:
    """The part of the photograph that survives a resize of the short side to `short_side` and a crop of
    `size` at the centre, in pixels of the photograph. Rounds like torchvision's Resize and CenterCrop."""
    short = min(width, height)

    def along(length: int) -> tuple[float, float]:
        resized = short_side * length // short
        start = round((resized - size) / 2)
        scale = length / resized
        return start * scale, min((start + size) * scale, length)

    left, right = along(width)
    top, bottom = along(height)
    return left, top, right, bottom


def preprocess(image: Image.Image, preprocessing: Preprocessing) -> npt.NDArray[np.float32]:
    """Pixel values of one photograph.

    `squash` resizes to a square; `crop` resizes the short side and crops the centre. Here the crop comes
    first, with the same result, because a photograph of 1 x 10,000 pixels would otherwise be enlarged to
    224 x 2,240,000 before it is cropped.

    Args:
        image: mode "RGB", any size from 1 x 1.
        preprocessing: from the checkpoint's manifest.

    Returns:
        float32 [3, S, S], (value / 255 - mean) / std per channel.

    Raises:
        ValueError: the image is not RGB.
    """
    if image.mode != "RGB":
        raise ValueError(
            f"preprocess takes RGB images, not {image.mode}: decode with sigrl.service.images.decoding"
        )
    size = preprocessing.image_size
    crop = preprocessing.resize == "crop"
    box = _cut_box(*image.size, size, preprocessing.short_side or size) if crop else None
    resized = image.resize((size, size), _FILTERS[preprocessing.interpolation], box=box)
    values = np.empty((3, size, size), np.float32)
    # Channel by channel: NumPy takes three times as long for arrays whose last axis has three numbers.
    for channel, mean, std, of_channel in zip(
        resized.split(), preprocessing.mean, preprocessing.std, values, strict=True
    ):
        np.divide(np.asarray(channel), np.float32(255), out=of_channel)
        of_channel -= np.float32(mean)
        of_channel /= np.float32(std)
    return values
