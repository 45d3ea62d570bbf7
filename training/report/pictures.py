"""Photographs embedded in a page."""

import base64
import io
from pathlib import Path

from sigrl.training.data.dataset import DataError
from sigrl.training.data.opening import open_photograph

_SIDE = 320


def picture(path: Path) -> str | None:
    """A small JPEG of a photograph as a `data:` URL; None if the file is missing or cannot be read."""
    try:
        small = open_photograph(path)
    except DataError:
        return None
    small.thumbnail((_SIDE, _SIDE))
    file = io.BytesIO()
    small.save(file, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()
