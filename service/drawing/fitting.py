"""Photographs at the size in which a picture shows them."""

from PIL import Image


def fitted(photograph: Image.Image, box: tuple[int, int], enlarge: bool = False) -> Image.Image:
    """As large as fits into `box` (width, height) with its proportions kept, and at least a pixel wide and
    high; smaller photographs stay as they are unless `enlarge` is given."""
    scale = min(box[0] / photograph.width, box[1] / photograph.height)
    if not enlarge:
        scale = min(scale, 1.0)
    size = max(1, round(photograph.width * scale)), max(1, round(photograph.height * scale))
    return photograph.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)
