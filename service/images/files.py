"""Reads the files of photographs, without decoding them. Can be imported without Pillow."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sigrl.service.errors import ImageNotFoundError, ImageTooLargeError

if TYPE_CHECKING:
    from sigrl.service.settings import Settings


@dataclass(frozen=True)
class ImageLimits:
    """Limits of a photograph's size."""

    max_bytes: int = 64 * 1024 * 1024
    """Length of the file in bytes."""
    max_pixels: int = 70_000_000
    """Width times height, as stated in the header."""
    max_side: int = 100_000
    """Longer side in pixels, as stated in the header. A decoder needs memory for every row, however short."""

    @classmethod
    def of(cls, settings: "Settings") -> "ImageLimits":
        """The limits in the settings."""
        return cls(settings.max_request_bytes, settings.max_image_pixels)


def read(path: Path, limits: ImageLimits) -> bytes:
    """Reads a file. Raises ImageNotFoundError, ImageTooLargeError."""
    try:
        with path.open("rb") as file:
            # Reads at most one byte more than allowed, and never the whole of a four-gigabyte video.
            data = file.read(limits.max_bytes + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        hint = "check the path and its permissions"
        raise ImageNotFoundError(f"the file cannot be read: {reason}", hint) from error
    check_bytes(len(data), limits)
    return data


def check_bytes(length: int, limits: ImageLimits) -> None:
    """Raises ImageTooLargeError if a file of `length` bytes is too large."""
    if length > limits.max_bytes:
        allowed = f"{limits.max_bytes / 2**20:g} MiB"
        raise ImageTooLargeError(f"the file is larger than {allowed}", "save it smaller or as a JPEG")
