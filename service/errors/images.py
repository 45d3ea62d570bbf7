"""Errors that concern one photograph."""

from sigrl.service.errors.base import TaggerError


class ImageError(TaggerError):
    """One photograph cannot be tagged; others are not affected."""


class ImageNotFoundError(ImageError):
    """The path does not lead to a readable file."""

    code = "image-not-found"
    title = "The photograph cannot be read"
    status = 404


class UnsupportedImageError(ImageError):
    """The bytes are not an image, or the image format is not supported."""

    code = "unsupported-image"
    title = "The format is not supported"
    status = 415


class DamagedImageError(ImageError):
    """The bytes begin like a supported image but cannot be decoded to the end."""

    code = "damaged-image"
    title = "The photograph is damaged"
    status = 422


class ImageTooLargeError(ImageError):
    """The photograph has more bytes or more pixels than allowed."""

    code = "image-too-large"
    title = "The photograph is too large"
    status = 413


class UrlRefusedError(ImageError):
    """The service refuses to fetch this address, regardless of the client."""

    code = "url-refused"
    title = "The photograph's URL is not allowed"
    status = 422


class UrlFailedError(ImageError):
    """No photograph could be fetched from the address."""

    code = "url-failed"
    title = "The photograph's URL cannot be fetched"
    status = 502


class SidecarError(TaggerError):
    """The sidecar file next to a photograph belongs to another program or cannot be written."""

    code = "sidecar-refused"
    title = "The sidecar file was not changed"
    status = 409
