"""Views: random crops of the photographs, half of them mirrored, with the same labels.

The frozen tower sees every photograph once, so its features leave no room for augmentation later. The
features of views are stored as well, so that later runs use them again; photographs whose labels teach most
get more views.
"""

import random
from collections.abc import Sequence
from dataclasses import replace

from PIL import Image, ImageOps

from sigrl.training.tasks.everyday.photographs import Photograph

_LEAST_AREA = 0.5
"""Minimum share of the photograph's area that a view shows. In a smaller one, too many labels would apply to
nothing that is visible."""
_LARGEST_STRETCH = 4 / 3
"""Maximum ratio between the shares of the two sides."""


def views(photographs: Sequence[Photograph], count: int) -> list[Photograph]:
    """`count` views of each photograph, in the photographs' order."""
    return [replace(one, view=number) for one in photographs for number in range(1, count + 1)]


def seen_by(image: Image.Image, photograph: Photograph) -> Image.Image:
    """The view of an opened photograph; always the same one."""
    if photograph.view == 0:
        return image
    draw = random.Random(f"{photograph.repository} {photograph.place} {photograph.view}")
    side = draw.uniform(_LEAST_AREA, 1) ** 0.5
    stretch = draw.uniform(1 / _LARGEST_STRETCH, _LARGEST_STRETCH) ** 0.5
    width, height = (
        max(1, round(length * min(1, share)))
        for length, share in zip(image.size, (side * stretch, side / stretch), strict=True)
    )
    left, top = draw.randint(0, image.width - width), draw.randint(0, image.height - height)
    cut = image.crop((left, top, left + width, top + height))
    return ImageOps.mirror(cut) if draw.random() < 0.5 else cut
