"""One photograph cannot be tagged."""

from sigrl.service.errors.base import TaggerError


class ImageError(TaggerError):
    """One photograph cannot be tagged; others are not affected."""


class ImageNotFoundError(ImageError):
    """A path that leads to no readable file."""

    code = "image-not-found"
    title = "The photograph cannot be read"
    status = 404


class UnsupportedImageError(ImageError):
    """The bytes are no image, or one of a kind that is not decoded."""

    code = "unsupported-image"
    title = "The format is not supported"
    status = 415


class DamagedImageError(ImageError):
    """The bytes begin like a supported image and cannot be decoded to the end."""

    code = "damaged-image"
    title = "The photograph is damaged"
    status = 422


class ImageTooLargeError(ImageError):
    """More bytes or more pixels than allowed."""

    code = "image-too-large"
    title = "The photograph is too large"
    status = 413


class UrlRefusedError(ImageError):
    """An address that the service does not ask, whoever names it."""

    code = "url-refused"
    title = "The photograph's URL is not allowed"
    status = 422


class UrlFailedError(ImageError):
    """An address at which there is no photograph to be had."""

    code = "url-failed"
    title = "The photograph's URL cannot be fetched"
    status = 502


class SidecarError(TaggerError):
    """A file beside a photograph that is another program's, or cannot be written."""

    code = "sidecar-refused"
    title = "The sidecar is left as it is"
    status = 409
