import contextlib
import gzip
import os
import subprocess
import sys
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import sample_images as samples
from PIL import Image

from sigrl.service import errors
from sigrl.service.images.decoding import decode, to_rgb
from sigrl.service.images.files import ImageLimits, read


def _looks_like_the_picture(image: Image.Image, tolerance: int = 12) -> bool:
    if image.mode != "RGB" or image.size != (48, 32):
        return False
    difference = np.asarray(image, np.int16) - np.asarray(samples.picture(), np.int16)
    # The seam between the colours blurs in lossy formats.
    return int(np.abs(np.delete(difference, range(20, 28), axis=1)).max()) <= tolerance


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(samples.jpeg(), id="jpeg"),
        pytest.param(samples.encode(samples.picture(), "JPEG", progressive=True), id="progressive jpeg"),
        pytest.param(samples.cmyk_jpeg(), id="cmyk jpeg"),
        pytest.param(samples.cmyk_jpeg(icc_profile=b"no profile at all"), id="cmyk jpeg, bad profile"),
        pytest.param(samples.encode(samples.picture(), "PNG"), id="png"),
        pytest.param(samples.png_16_bit_rgb(), id="16-bit rgb png"),
        pytest.param(samples.encode(samples.picture().quantize(4), "PNG"), id="palette png"),
        pytest.param(samples.encode(samples.picture(), "WEBP", quality=90), id="webp"),
        pytest.param(samples.encode(samples.picture(), "WEBP", lossless=True), id="lossless webp"),
        pytest.param(samples.encode(samples.picture(), "GIF"), id="gif"),
        pytest.param(samples.encode(samples.picture(), "BMP"), id="bmp"),
        pytest.param(samples.encode(samples.picture(), "TIFF"), id="tiff"),
        pytest.param(samples.encode(samples.picture(), "TIFF", compression="tiff_lzw"), id="lzw tiff"),
        pytest.param(samples.encode(samples.picture().convert("CMYK"), "TIFF"), id="cmyk tiff"),
        pytest.param(samples.encode(samples.picture(), "AVIF", quality=90), id="avif"),
        pytest.param(samples.HEIC, id="heic"),
        pytest.param(samples.HEIC_ROTATED, id="heic on its side"),
        pytest.param(samples.animated("GIF"), id="animated gif: first frame"),
        pytest.param(samples.animated("WEBP"), id="animated webp: first frame"),
    ],
)
def test_every_format_is_decoded(data: bytes) -> None:
    assert _looks_like_the_picture(decode(data))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_exif_orientation_is_applied(form: str, orientation: int) -> None:
    assert _looks_like_the_picture(decode(samples.exif_rotated(form, orientation)), tolerance=30)


def test_broken_exif_is_ignored() -> None:
    assert _looks_like_the_picture(
        decode(samples.encode(samples.picture(), "JPEG", exif=b"Exif\0\0MM\0*bad"))
    )


def test_16_bit_grey_is_scaled_and_not_clipped() -> None:
    grey = np.asarray(decode(samples.png_16_bit_grey()))[0, :, 0]
    np.testing.assert_array_equal(grey, np.arange(256))


@pytest.mark.parametrize("values", [[0.0, 0.5, 1.0], [-70_000, 0, 70_000]])
def test_grey_values_without_a_range_are_stretched(values: list[float]) -> None:
    kind = np.float32 if isinstance(values[0], float) else np.int32
    data = samples.encode(Image.fromarray(np.array([values], dtype=kind)), "TIFF")
    assert np.asarray(decode(data))[0, :, 0].tolist() == [0, 128, 255]


def test_constant_and_infinite_floats_are_decoded() -> None:
    constant = samples.encode(Image.fromarray(np.full((2, 2), 7, np.float32)), "TIFF")
    assert np.ptp(np.asarray(decode(constant))) == 0
    odd = samples.encode(Image.fromarray(np.array([[np.nan, np.inf, 1.0]], np.float32)), "TIFF")
    assert decode(odd).size == (3, 1)


@pytest.mark.parametrize(
    ("mode", "transparent"), [("RGBA", (0, 0, 0, 0)), ("RGBa", (0, 0, 0, 0)), ("LA", (0, 0)), ("PA", (0, 0))]
)
def test_transparency_is_composited_on_white(mode: str, transparent: tuple[int, ...]) -> None:
    assert to_rgb(Image.new(mode, (4, 4), transparent)).getpixel((1, 1)) == (255, 255, 255)


def test_transparent_palette_is_composited_on_white() -> None:
    image = Image.new("P", (4, 4), 1)
    image.putpalette([255, 0, 0, 0, 0, 0])
    assert decode(samples.encode(image, "GIF", transparency=1)).getpixel((1, 1)) == (255, 255, 255)
    assert decode(samples.encode(image, "PNG", transparency=1)).getpixel((1, 1)) == (255, 255, 255)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "CMYK", "YCbCr", "HSV", "I", "F", "I;16", "RGBX"])
def test_every_pillow_mode_is_converted_to_rgb(mode: str) -> None:
    image = to_rgb(Image.new(mode, (1, 1)))
    assert (image.mode, image.size) == ("RGB", (1, 1))


def test_unknown_mode_is_rejected_by_name() -> None:
    with pytest.raises(errors.UnsupportedImageError, match="mode La"):
        to_rgb(Image.new("La", (4, 4)))


@pytest.mark.parametrize("size", [(1, 1), (1, 3000), (3000, 1)])
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"])
def test_extreme_image_sizes_are_decoded(form: str, size: tuple[int, int]) -> None:
    assert decode(samples.encode(Image.new("RGB", size), form), minimum_side=448).size == size


@pytest.mark.parametrize(("side", "size"), [(None, (1600, 1200)), (448, (800, 600)), (224, (400, 300))])
def test_large_jpegs_are_decoded_at_reduced_size(side: int | None, size: tuple[int, int]) -> None:
    image = decode(samples.jpeg(1600, 1200), minimum_side=side)
    assert image.size == size
    assert image.getpixel((3, 3)) == pytest.approx(samples.RED, abs=3)


FORMS = ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"]


def _noise(form: str) -> bytes:
    values = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    return samples.encode(Image.fromarray(values), form)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("form", [*FORMS, "HEIC"])
def test_truncated_files_are_rejected(form: str, share: float) -> None:
    data = samples.HEIC if form == "HEIC" else _noise(form)
    for side in (None, 16):
        with pytest.raises(errors.DamagedImageError) as caught:
            decode(data[: int(len(data) * share)], minimum_side=side)
        assert caught.value.hint


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("form", [*FORMS, "HEIC"])
def test_flipped_bytes_raise_only_image_errors(form: str) -> None:
    data = samples.HEIC if form == "HEIC" else samples.encode(samples.picture(), form)
    generator = np.random.default_rng(1)
    for _ in range(60):
        broken = bytearray(data)
        for position in generator.integers(0, len(data), 4):
            broken[position] = generator.integers(0, 256)
        with contextlib.suppress(errors.ImageError):
            assert decode(bytes(broken), ImageLimits(max_pixels=1_000_000)).mode == "RGB"


@pytest.mark.parametrize(
    ("data", "error", "says"),
    [
        (b"", errors.DamagedImageError, "empty"),
        (b"hello, I am a text", errors.UnsupportedImageError, "format is not known"),
        (b"%PDF-1.7", errors.UnsupportedImageError, "PDF"),
        (b"\n<!DOCTYPE HTML><html>", errors.UnsupportedImageError, "web page"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", errors.UnsupportedImageError, "SVG"),
        (b"\0\0\0\x18ftypmp42\0\0\0\0", errors.UnsupportedImageError, "video"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", errors.UnsupportedImageError, "JPEG XL"),
        (samples.encode(samples.picture(), "JPEG2000"), errors.UnsupportedImageError, "JPEG 2000"),
        (samples.encode(samples.picture(), "ICO"), errors.UnsupportedImageError, "icon"),
        (gzip.compress(samples.jpeg()), errors.UnsupportedImageError, "gzip"),
        (samples.encode(samples.picture(), "PPM"), errors.UnsupportedImageError, "format is not known"),
        (b"\0\0\0\x18ftypheic" + b"garbage" * 9, errors.DamagedImageError, "HEIC"),
        (b"\xff\xd8\xff\xe0", errors.DamagedImageError, "JPEG"),
    ],
)
def test_other_file_types_are_rejected_by_name(data: bytes, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says) as caught:
        decode(data)
    assert caught.value.hint  # type: ignore[attr-defined]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("size", [(10_000, 7_001), (12_000, 12_000), (60_000, 60_000)])
def test_pixel_limit_is_checked_from_the_header(size: tuple[int, int]) -> None:
    with pytest.raises(errors.ImageTooLargeError, match="70 megapixels"):
        decode(samples.png_header_of(*size))


def test_byte_and_pixel_limits_are_enforced(tmp_path: Path) -> None:
    data = samples.jpeg()
    path = tmp_path / "photo.jpg"
    path.write_bytes(data)
    small = ImageLimits(max_bytes=len(data) - 1)
    with pytest.raises(errors.ImageTooLargeError):
        decode(data, small)
    with pytest.raises(errors.ImageTooLargeError):
        read(path, small)
    assert read(path, ImageLimits(max_bytes=len(data))) == data
    with pytest.raises(errors.ImageTooLargeError, match="48 x 32 pixels"):
        decode(data, ImageLimits(max_pixels=48 * 32 - 1))


def test_unreadable_paths_raise_image_not_found(tmp_path: Path) -> None:
    for path in (tmp_path / "absent.jpg", tmp_path, tmp_path / ("x" * 5000), Path("a\0b")):
        with pytest.raises(errors.ImageNotFoundError):
            read(path, ImageLimits())


def test_opened_images_are_loaded_and_rotated() -> None:
    assert _looks_like_the_picture(to_rgb(Image.open(BytesIO(samples.exif_rotated("JPEG", 6)))), tolerance=30)
    with pytest.raises(errors.DamagedImageError):
        to_rgb(Image.open(BytesIO(_noise("PNG")[:3000])))


def test_pillows_own_warnings_stay_away() -> None:
    # In a process of its own, for pytest sets the warnings' filters anew.
    code = (
        "import struct, sample_images as samples\nfrom sigrl.service import errors\n"
        "from sigrl.service.images import decoding as images\n"
        "try: images.decode(samples.png_header_of(10_000, 10_000))\n"
        "except errors.ImageTooLargeError: pass\n"
        "tags = b''.join(struct.pack('>HHII', 1_000 + n, 1, 20_000, 8) for n in range(1_000))\n"
        "exif = b'Exif\\0\\0MM\\0*' + struct.pack('>IH', 8, 1_000) + tags + bytes(30_000)\n"
        "images.decode(samples.encode(samples.picture(), 'JPEG', exif=exif))"
    )
    paths = os.pathsep.join([str(Path(__file__).parents[1]), str(Path(__file__).parents[3])])
    ran = subprocess.run(
        [sys.executable, "-c", code],
        check=False,
        capture_output=True,
        env={**os.environ, "PYTHONPATH": paths},
    )
    assert (ran.returncode, ran.stderr) == (0, b"")
