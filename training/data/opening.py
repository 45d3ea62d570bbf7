"""Opens a photograph, whether it is a file of its own or a member of a WebDataset shard.

The result is upright, opaque and RGB, as in the service (`sigrl.service.images.decoding`), so that a model is
trained on what it will see.
"""

from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import pi_heif
from PIL import Image, ImageOps

from sigrl.training.data.dataset import DataError
from sigrl.training.data.tar_index import locate

pi_heif.register_heif_opener()


def photograph_exists(path: Path) -> bool:
    """Whether the file or member exists. Raises DataError for a shard that cannot be read."""
    return path.is_file() or locate(path) is not None


def open_photograph(path: Path, smallest: bool = False) -> Image.Image:
    """The photograph, fully decoded, upright and RGB, on white where it is transparent.

    Args:
        path: a file, or `shard.tar/key.jpg`.
        smallest: decode a JPEG at an eighth of its size, which is enough to check that it is complete.

    Raises DataError if the file is missing or cannot be decoded.
    """
    try:
        with _open(path) as file, Image.open(file) as image:
            if smallest:
                # This has no effect on formats other than JPEG.
                image.draft("RGB", (1, 1))
            return _to_rgb(image)
    except DataError:
        raise
    # Decoders raise almost any error for damaged bytes.
    except Exception as error:
        reason = " ".join(str(error).split())
        raise DataError(
            f"{path} cannot be decoded ({reason}): fetch it again, or let damaged photographs be skipped"
        ) from error


def _open(path: Path) -> BinaryIO:
    member = None if path.is_file() else locate(path)
    if member is not None:
        return member.open()
    try:
        return path.open("rb")
    except OSError as error:
        raise DataError(
            f"{path} cannot be read ({error.strerror or error}): complete the folder, or let "
            "missing photographs be skipped"
        ) from error


def _to_rgb(image: Image.Image) -> Image.Image:
    image.load()
    # Broken EXIF data is common and no reason to refuse intact pixels.
    with suppress(Exception):
        ImageOps.exif_transpose(image, in_place=True)
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        canvas = Image.new("RGB", image.size, "white")
        canvas.paste(layer, mask=layer.getchannel("A"))
        return canvas
    return image.convert("RGB")
