"""Writes pictures atomically, and never over a file that this program did not write."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from sigrl.service.errors import ParameterError
from sigrl.service.terminal import printable

if TYPE_CHECKING:
    from PIL import Image

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
_MADE_BY = "sigrl-tagger"


def check_target(option: str, out: Path) -> None:
    """Raises ParameterError if `out` cannot be written, or if it is an existing file that `save` did not
    write: it is easy to pass a photograph as an option's value by mistake."""
    name = f"{option} is '{printable(out)}'"
    if out.suffix.lower() not in SUFFIXES:
        raise ParameterError(name, f"use one of the suffixes {', '.join(SUFFIXES)}")
    if not out.parent.is_dir():
        raise ParameterError(
            f"{name}, but that folder does not exist", "create it first, or give another one"
        )
    if out.exists() and not is_ours(out):
        detail = f"{name}, a file that this command did not write"
        raise ParameterError(detail, "give another file, or delete this one")


def is_ours(path: Path) -> bool:
    """Whether `save` wrote the file."""
    from PIL import ExifTags, Image

    try:
        with Image.open(path) as image:
            return image.getexif().get(ExifTags.Base.Software) == _MADE_BY
    except Exception:
        # Decoders can raise almost anything; a file that they cannot read is not ours.
        return False


def save(picture: "Image.Image", path: Path) -> None:
    """Writes a picture in the format of the path's suffix. Raises ParameterError if that fails."""
    from PIL import ExifTags, Image

    exif = Image.Exif()
    exif[ExifTags.Base.Software] = _MADE_BY
    # The suffix stays at the end, because Pillow takes the format from it.
    unfinished = path.with_name(f".{path.stem}.part{path.suffix}")
    try:
        picture.save(unfinished, exif=exif, quality=90)
        os.replace(unfinished, path)
    except OSError as error:
        reason = error.strerror or str(error)
        raise ParameterError(f"cannot write '{printable(path)}': {reason}", "give another file") from error
    finally:
        unfinished.unlink(missing_ok=True)
