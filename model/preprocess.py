"""RGB photograph to the image tower's input; the one implementation that training's evaluation and the
service share. Imports without torch."""

import numpy as np
import numpy.typing as npt
from PIL import Image

from sigrl.model.config import Preprocessing

_FILTERS = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}


def _cut_box(width: int, height: int, size: int) -> tuple[float, float, float, float]:
    """The part of the photograph that survives a resize of the short side to `size` and a centre crop,
    in pixels of the photograph. Rounds as torchvision's Resize and CenterCrop do."""
    short = min(width, height)

    def along(length: int) -> tuple[float, float]:
        resized = size * length // short
        start = round((resized - size) / 2)
        scale = length / resized
        return start * scale, min((start + size) * scale, length)

    left, right = along(width)
    top, bottom = along(height)
    return left, top, right, bottom


def preprocess(image: Image.Image, preprocessing: Preprocessing) -> npt.NDArray[np.float32]:
    """Pixel values of one photograph.

    `squash` resizes to a square; `crop` resizes the short side and cuts the centre out. The cut comes first
    here, with the same result, because a photograph of 1 x 10,000 pixels would otherwise be blown up to
    224 x 2,240,000 before it is cut.

    Args:
        image: mode "RGB", any size from 1 x 1.
        preprocessing: what the checkpoint's manifest says.

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
    box = None if preprocessing.resize == "squash" else _cut_box(*image.size, size)
    resized = image.resize((size, size), _FILTERS[preprocessing.interpolation], box=box)
    values = np.asarray(resized, dtype=np.float32) / np.float32(255)
    values -= np.asarray(preprocessing.mean, dtype=np.float32)
    values /= np.asarray(preprocessing.std, dtype=np.float32)
    return np.ascontiguousarray(values.transpose(2, 0, 1))
