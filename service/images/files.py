"""Photographs as files, not yet decoded. Imports without Pillow."""

from dataclasses import dataclass
from pathlib import Path

from sigrl.service.errors import ImageNotFoundError, ImageTooLargeError
from sigrl.service.settings import Settings


@dataclass(frozen=True)
class ImageLimits:
    """What a photograph may cost."""

    max_bytes: int = 64 * 1024 * 1024
    """Length of the file."""
    max_pixels: int = 70_000_000
    """Width times height, by the header."""
    max_side: int = 100_000
    """Longer side, by the header. A decoder needs memory for every row, however short it is."""

    @classmethod
    def of(cls, settings: Settings) -> "ImageLimits":
        """What the settings allow."""
        return cls(settings.max_request_bytes, settings.max_image_pixels)


def read(path: Path, limits: ImageLimits) -> bytes:
    """The file's content. Raises ImageNotFoundError, ImageTooLargeError."""
    try:
        with path.open("rb") as file:
            # One byte more than allowed, and never the whole of a four-gigabyte video.
            data = file.read(limits.max_bytes + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        hint = "check the path and its permissions"
        raise ImageNotFoundError(f"the file cannot be read: {reason}", hint) from error
    check_bytes(len(data), limits)
    return data


def check_bytes(length: int, limits: ImageLimits) -> None:
    """Raises ImageTooLargeError."""
    if length > limits.max_bytes:
        allowed = f"{limits.max_bytes / 2**20:g} MiB"
        raise ImageTooLargeError(f"the file is larger than {allowed}", "save it smaller or as a JPEG")
