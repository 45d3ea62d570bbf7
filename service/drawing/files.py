"""Pictures of ours as files: whole or not at all, and never in the place of anybody's photograph."""

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
    """Raises ParameterError for what cannot be written, or is there and is not ours: photographs are named
    where an option's value was meant soon enough."""
    name = f"{option} is '{printable(out)}'"
    if out.suffix.lower() not in SUFFIXES:
        raise ParameterError(name, f"let it end in {', '.join(SUFFIXES)}")
    if not out.parent.is_dir():
        raise ParameterError(f"{name}, and there is no such folder", "make it first, or name another")
    if out.exists() and not is_ours(out):
        detail = f"{name}, which is there and was not made by this command"
        raise ParameterError(detail, "name another file, or delete this one")


def is_ours(path: Path) -> bool:
    """Whether `save` wrote it."""
    from PIL import ExifTags, Image

    try:
        with Image.open(path) as image:
            return image.getexif().get(ExifTags.Base.Software) == _MADE_BY
    except Exception:
        # Decoders raise nearly anything; what cannot be read is not ours.
        return False


def save(picture: "Image.Image", path: Path) -> None:
    """In the format of its suffix. Raises ParameterError where it cannot be written."""
    from PIL import ExifTags, Image

    exif = Image.Exif()
    exif[ExifTags.Base.Software] = _MADE_BY
    # The suffix stays the last one: it says the format.
    unfinished = path.with_name(f".{path.stem}.part{path.suffix}")
    try:
        picture.save(unfinished, exif=exif, quality=90)
        os.replace(unfinished, path)
    except OSError as error:
        reason = error.strerror or str(error)
        raise ParameterError(f"cannot write '{printable(path)}': {reason}", "name another file") from error
    finally:
        unfinished.unlink(missing_ok=True)
