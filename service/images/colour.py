"""Converts photographs from the colours of their ICC profiles to sRGB."""

from functools import lru_cache
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image, ImageCms

_MOST_PROFILE = 4 * 2**20
"""In bytes. The largest profiles, those of printing presses, have about two million."""
_MODES = ("RGB", "L", "CMYK", "LAB")
_INVISIBLE = 2
"""A profile that changes each colour by at most this many of 256 levels counts as sRGB."""


def to_srgb(image: Image.Image, profile: Any) -> Image.Image:
    """Converts an image of mode RGB, L, CMYK or LAB to RGB. Uses the image's profile if possible. A profile
    that cannot be used is ignored: wrong colours are better than no photograph.

    Raises ValueError for a mode that can only be converted with a profile.
    """
    if image.mode in _MODES and isinstance(profile, bytes) and 0 < len(profile) <= _MOST_PROFILE:
        transform = _transform(profile, image.mode)
        if transform is not None:
            return ImageCms.applyTransform(image, transform) or image.convert("RGB")
    if image.mode == "LAB":
        lab = ImageCms.buildTransform(ImageCms.createProfile("LAB"), _srgb(), "LAB", "RGB")
        return ImageCms.applyTransform(image, lab) or image.convert("RGB")
    return image.convert("RGB")


@lru_cache(maxsize=16)
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """None for a profile that cannot be used or changes no colour visibly."""
    try:
        transform = ImageCms.buildTransform(BytesIO(profile), _srgb(), mode, "RGB")
    except (ImageCms.PyCMSError, OSError, TypeError, ValueError):
        return None
    if mode == "RGB":
        # Most photographs have an sRGB profile. The profile's name proves nothing, so it is tested on a cube
        # of colours.
        levels = np.linspace(0, 255, 9).astype(np.uint8)
        colours = np.stack(np.meshgrid(levels, levels, levels), -1).reshape(27, 27, 3)
        shown = ImageCms.applyTransform(Image.fromarray(colours), transform)
        change = np.abs(np.asarray(shown, np.int16) - colours).max()
        if change <= _INVISIBLE:
            return None
    return transform


@lru_cache(maxsize=1)
def _srgb() -> Any:
    return ImageCms.createProfile("sRGB")
