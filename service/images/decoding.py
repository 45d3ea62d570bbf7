"""Decodes the bytes of a file to an upright RGB image within the limits, or refuses them."""

import warnings
from io import BytesIO
from typing import NamedTuple

import pi_heif
from PIL import ExifTags, Image, UnidentifiedImageError

from sigrl.service.errors import DamagedImageError, ImageError, ImageTooLargeError, UnsupportedImageError
from sigrl.service.images.camera_raw import embedded_photograph, raw_kind
from sigrl.service.images.chunks import check_bmp, check_gif, without_large_texts
from sigrl.service.images.colour import to_srgb
from sigrl.service.images.files import ImageLimits, check_bytes
from sigrl.service.images.flattening import flatten
from sigrl.service.images.jpeg_markers import JPEG_START, JpegMarkers, check_jpeg
from sigrl.service.images.tiff_directories import is_tiff, largest_page, read_directories

pi_heif.register_heif_opener()
# Pillow warns about sizes that our own limits allow. It also warns about each broken tag, and a photograph
# can have 65,535 of them.
warnings.filterwarnings("ignore", module=r"PIL\.")

# Pillow supports about forty formats. These are used for photographs, and their decoders are fuzzed
# thoroughly.
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "HEIF")
FORMATS_IN_WORDS = "JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF or HEIC"

# (offset, magic bytes, name, decoded here). Used to name the format of a refused file, never to accept one.
_SIGNATURES = (
    (0, JPEG_START, "a JPEG", True),
    (0, b"\x89PNG", "a PNG", True),
    (8, b"WEBP", "a WebP", True),
    (0, b"GIF8", "a GIF", True),
    (0, b"II*\x00", "a TIFF", True),
    (0, b"MM\x00*", "a TIFF", True),
    (4, b"ftypavi", "an AVIF", True),
    (4, b"ftyphe", "a HEIC", True),
    (4, b"ftypmif1", "a HEIF", True),
    (4, b"ftyp", "a video", False),
    (0, b"\x1aE\xdf\xa3", "a video", False),
    (4, b"JXL ", "a JPEG XL", False),
    (0, b"\xff\x0a", "a JPEG XL", False),
    (4, b"jP  ", "a JPEG 2000", False),
    (0, b"8BPS", "a Photoshop file", False),
    (0, b"%PDF", "a PDF document", False),
    (0, b"\0\0\1\0", "an icon (ICO)", False),
    (0, b"\x1f\x8b", "compressed with gzip", False),
    (0, b"<svg", "an SVG drawing", False),
    (0, b"<?xml", "an SVG drawing or another XML file", False),
    (0, b"<!doctype html", "a web page", False),
    (0, b"<html", "a web page", False),
    (0, b"PK\x03\x04", "a ZIP archive", False),
    (0, b"BM", "a BMP", True),
)

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


COPY_SIDE = 640


class Opened(NamedTuple):
    """An opened photograph. Its pixels are not decoded yet."""

    image: Image.Image
    length: int
    """Bytes of the part of the file that is decoded."""
    markers: JpegMarkers | None
    """The markers of a JPEG; None for other formats."""


def decode(data: bytes, limits: ImageLimits | None = None, minimum_side: int | None = None) -> Image.Image:
    """Decodes a photograph completely, to an upright RGB image.

    Supports JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF and HEIC, and uses the largest JPEG in a camera raw file.
    Decodes the first picture of an animation and the largest page of a TIFF. A transparent picture is put on
    white. Colours are converted to sRGB if the file has a colour profile. 16 bits per channel are scaled to
    8. 32-bit and float greys, which have no agreed range, are stretched from their darkest to their brightest
    value.

    Args:
        data: the file's content.
        limits: checked before any pixel is decoded.
        minimum_side: see `to_rgb`.

    Raises:
        UnsupportedImageError: the file is not an image, or not in one of these formats.
        DamagedImageError: the file is empty, truncated or cannot be decoded for another reason.
        ImageTooLargeError: the file exceeds a limit.
    """
    with open_image(data, limits) as image:
        return to_rgb(image, minimum_side)


def small_copy(data: bytes, limits: ImageLimits | None = None, side: int = COPY_SIDE) -> bytes:
    """A small copy of a photograph to keep, as a JPEG: upright, with no side over `side` pixels, and without
    the camera's metadata. Raises as `decode` does."""
    rgb = decode(data, limits, side)
    rgb.thumbnail((side, side))
    copy = BytesIO()
    rgb.save(copy, "JPEG", quality=92)
    return copy.getvalue()


def open_image(data: bytes, limits: ImageLimits | None = None) -> Image.Image:
    """The first step of `decode`. It costs next to nothing: the header is read and checked against the
    limits, and no pixel is decoded. Raises as `decode` does."""
    return open_with_markers(data, limits).image


def open_with_markers(data: bytes, limits: ImageLimits | None = None) -> Opened:
    """Like `open_image`, with what was read to check the file."""
    limits = limits or ImageLimits()
    check_bytes(len(data), limits)
    data, markers = _readable(data)
    try:
        image = Image.open(BytesIO(data), formats=_FORMATS)
        if is_tiff(data):
            directories = read_directories(data)
            page = largest_page(directories)
            if directories and not [each for each in directories if each.is_page][page].is_whole:
                raise DamagedImageError(
                    "the TIFF has fewer strips or tiles than its picture needs", "save or copy it again"
                )
            image.seek(page)
    except UnidentifiedImageError as error:
        raise _unidentified(data) from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_many_pixels(limits) from error
    except ImageError:
        raise
    except Exception as error:
        raise _damaged(error) from error
    if image.width * image.height > limits.max_pixels or max(image.size) > limits.max_side:
        with image:
            raise _too_many_pixels(limits, image.size)
    return Opened(image, len(data), markers)


def _readable(data: bytes) -> tuple[bytes, JpegMarkers | None]:
    """Data that Pillow can open without a cost beyond that of the picture itself, and the markers of a JPEG.
    Raises ImageError."""
    kind = raw_kind(data)
    if kind is not None:
        data = embedded_photograph(data, kind)
    if data.startswith(JPEG_START):
        return data, check_jpeg(data)
    if data.startswith(b"\x89PNG"):
        return without_large_texts(data), None
    if data.startswith(b"GIF8"):
        check_gif(data)
    elif data.startswith(b"BM"):
        check_bmp(data)
    elif is_tiff(data):
        read_directories(data)
    return data, None


def to_rgb(image: Image.Image, minimum_side: int | None = None) -> Image.Image:
    """The second step of `decode`: converts an opened image to upright RGB.

    Args:
        image: any mode that its file may have.
        minimum_side: when given, a JPEG may be decoded at 1/2, 1/4 or 1/8 of its size, as long as both sides
            keep this many pixels. This is several times faster for a telephone's photographs. It changes
            `image`. Other large pictures are reduced after they are decoded; see `flatten`.

    Raises:
        DamagedImageError, UnsupportedImageError: see `decode`.
    """
    if minimum_side is not None:
        # Only has an effect on JPEG.
        image.draft(None, (minimum_side, minimum_side))
    try:
        # Pillow opens files lazily. Without this, a truncated file would fail later, within a batch.
        image.load()
    except MemoryError:
        raise
    except Exception as error:
        # Decoders may raise nearly anything for untrusted bytes, such as SyntaxError or struct.error.
        raise _damaged(error) from error
    try:
        rgb = to_srgb(flatten(image, minimum_side), image.info.get("icc_profile"))
    except ValueError as error:
        hint = "save it as an ordinary RGB JPEG or PNG"
        raise UnsupportedImageError(f"the colour mode {image.mode} is not supported", hint) from error
    turn = _UPRIGHT.get(_orientation(image))
    return rgb if turn is None else rgb.transpose(turn)


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:
        # Broken EXIF data is common and no reason to refuse good pixels.
        return 1


def _too_many_pixels(limits: ImageLimits, size: tuple[int, int] | None = None) -> ImageTooLargeError:
    found = "too many pixels" if size is None else f"{size[0]:,} x {size[1]:,} pixels"
    allowed = f"at most {limits.max_pixels / 1e6:g} megapixels are allowed"
    if size is not None and max(size) > limits.max_side:
        allowed = f"at most {limits.max_side:,} a side are allowed"
    return ImageTooLargeError(
        f"the photograph has {found}, {allowed}", "scale it down: 1,000 pixels a side are plenty"
    )


def _damaged(error: Exception) -> DamagedImageError:
    return DamagedImageError(f"the photograph cannot be decoded: {error}", "check that the file is complete")


def _unidentified(data: bytes) -> DamagedImageError | UnsupportedImageError:
    if not data:
        return DamagedImageError("the file is empty", "check that it was written or uploaded completely")
    start = data[:64].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    for offset, magic, name, supported in _SIGNATURES:
        if data.startswith(magic, offset) or (offset == 0 and start.startswith(magic.lower())):
            if supported:
                return DamagedImageError(
                    f"the file begins like {name}, but its header is broken or of a rare kind",
                    "copy it again, or save it as JPEG or PNG",
                )
            return UnsupportedImageError(f"the file is {name}", f"convert it to {FORMATS_IN_WORDS}")
    return UnsupportedImageError("the file's format is not known", f"send a {FORMATS_IN_WORDS}")
