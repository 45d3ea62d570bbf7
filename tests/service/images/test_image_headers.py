"""What costs more than its picture is counted in the header, and refused or left out before it is decoded."""

import struct
import zlib

import costly_images as costly
import numpy as np
import pytest
import sample_images as samples
from PIL import Image, PngImagePlugin

from sigrl.service import errors
from sigrl.service.images.decoding import decode, open_image
from sigrl.service.images.jpeg_markers import read_markers


@pytest.mark.parametrize(
    ("data", "says"),
    [
        pytest.param(costly.jpeg_with(costly.app_segments(300, b"x" * 65_000)), "16 MiB", id="APP bytes"),
        pytest.param(costly.jpeg_with(costly.app_segments(5_000, b"")), "4,096 segments", id="APP segments"),
        pytest.param(costly.jpeg_with(costly.app_segments(65, b"Exif\0\0x")), "EXIF", id="EXIF segments"),
        pytest.param(costly.jpeg_with(b"\xff" * 100_000), "filling", id="fill bytes"),
        pytest.param(costly.jpeg_with(b"\xff\0" * 50_000), "filling", id="escaped bytes"),
        pytest.param(costly.jpeg_with(b"\xff\xfe\0\2" + b"x" * 100_000), "filling", id="junk"),
        pytest.param(costly.progressive_jpeg(64, 64, 200), "128 scans", id="scans"),
        pytest.param(
            costly.progressive_jpeg(8_000, 8_000, 40), "19 or more scans", id="scans of many pixels"
        ),
        pytest.param(costly.run_length_bmp(5_000_000), "run lengths", id="BMP"),
        pytest.param(costly.tiff([(273, 4, 5_000_000, 8)]), "5,000,000 values", id="strips"),
        pytest.param(costly.tiff([(324, 16, 100_000, 8)]), "100,000 values", id="tiles"),
        pytest.param(costly.tiff([(700, 1, 2**20, 8)] * 40), "32 MiB", id="TIFF metadata"),
        pytest.param(costly.tiff([(700, 1, 1, 8)] * 2_000), "2,000 entries", id="TIFF entries"),
        pytest.param(
            b"\x89PNG\r\n\x1a\n" + costly.chunk(b"tIME", b"") * 70_000, "65,536 chunks", id="PNG chunks"
        ),
        pytest.param(costly.blank_png(1, 100_001), "100,000 a side", id="needle"),
        pytest.param(costly.blank_png(100_001, 1), "100,000 a side", id="needle, lying"),
    ],
)
def test_excessive_header_content_is_rejected_with_a_reason(data: bytes, says: str) -> None:
    with pytest.raises(errors.ImageTooLargeError, match=says) as caught:
        open_image(data)
    assert caught.value.hint


def test_endless_gif_comments_are_rejected() -> None:
    good = samples.encode(samples.picture(), "GIF")
    start = 13 + 3 * 2 ** ((good[10] & 7) + 1)
    comment = b"\x21\xfe" + (b"\xff" + b"x" * 255) * 9_000 + b"\0"
    with pytest.raises(errors.DamagedImageError, match="comments"):
        open_image(good[:start] + comment + good[start:])


def test_ordinary_progressive_jpeg_is_accepted() -> None:
    found = read_markers(samples.encode(samples.picture(), "JPEG", progressive=True))
    assert found.excess is None
    assert (found.width, found.height, found.components) == (48, 32, 3)
    assert 2 < found.scans < 20


def test_jpeg_markers_after_the_end_are_ignored() -> None:
    data = samples.jpeg()
    found = read_markers(data + b"\xff\xda" * 1_000)
    assert (found.scans, found.end) == (1, len(data))


@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_that_is_smaller_than_any_picture_of_its_size_is_damaged(progressive: bool) -> None:
    data = samples.encode(samples.picture(), "JPEG", progressive=progressive)
    frame = data.index(b"\xff\xc2" if progressive else b"\xff\xc0")
    taller = data[: frame + 5] + struct.pack(">HH", 8_000, 8_000) + data[frame + 9 :]
    with pytest.raises(errors.DamagedImageError, match="8,000 x 8,000"):
        open_image(taller)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_blocks": 1}])
@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_a_jpeg_of_one_colour_has_enough_data(mode: str, options: dict[str, object]) -> None:
    open_image(samples.encode(Image.new(mode, (1_999, 1_001)), "JPEG", **options))


def test_a_jpeg_of_twelve_bits_is_refused_by_name() -> None:
    data = samples.jpeg()
    frame = data.index(b"\xff\xc0")
    with pytest.raises(errors.UnsupportedImageError, match="12 bits"):
        open_image(data[: frame + 1] + b"\xc1" + data[frame + 2 : frame + 4] + b"\x0c" + data[frame + 5 :])


@pytest.mark.parametrize("parts", [(273, 278), (324, 323)], ids=["strips", "tiles"])
def test_a_tiff_without_some_of_its_parts_is_damaged(parts: tuple[int, int]) -> None:
    offsets, rows = parts
    size = [(256, 4, 1, 64), (257, 4, 1, 64), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (277, 3, 1, 1)]
    place = [(offsets, 4, 1, 8), (offsets + (6 if offsets == 273 else 1), 4, 1, 64 * 64)]
    tile = [(322, 4, 1, 64)] if offsets == 324 else []
    assert open_image(costly.tiff([*size, *place, *tile, (rows, 4, 1, 64)], bytes(64 * 64))).size == (64, 64)
    with pytest.raises(errors.DamagedImageError, match="strips or tiles"):
        open_image(costly.tiff([*size, *place, *tile, (rows, 4, 1, 16)], bytes(64 * 64)))


@pytest.mark.parametrize("length", [0, 1, 2, 3, 20, 200])
def test_truncated_jpeg_has_no_end_marker(length: int) -> None:
    assert read_markers(samples.jpeg()[:length]).end is None


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("compressed", [False, True])
def test_large_png_text_chunks_are_ignored(compressed: bool, after: bool) -> None:
    texts = PngImagePlugin.PngInfo()
    texts.add_text("parameters", "x" * 1_200_000, zip=compressed)
    data = samples.encode(samples.picture(), "PNG", pnginfo=texts)
    if after:
        text = b"c\0\0" + zlib.compress(bytes(1_200_000)) if compressed else b"c\0" + b"x" * 1_200_000
        data = samples.encode(samples.picture(), "PNG")
        data = data[:-12] + costly.chunk(b"zTXt" if compressed else b"tEXt", text) + data[-12:]
    np.testing.assert_array_equal(np.asarray(decode(data)), np.asarray(samples.picture()))


def test_many_compressed_png_texts_are_not_inflated() -> None:
    text = costly.chunk(b"zTXt", b"c\0\0" + zlib.compress(bytes(2**20)))
    good = samples.encode(samples.picture(), "PNG")
    assert decode(good[:33] + text * 5_000 + good[33:]).size == (48, 32)


def test_large_png_colour_profile_is_ignored() -> None:
    data = samples.encode(samples.picture(), "PNG", icc_profile=bytes(1_300_000))
    assert decode(data).size == (48, 32)


def test_png_with_small_text_chunks_keeps_its_exif_orientation() -> None:
    turned = samples.exif_rotated("PNG", 6)
    texts = costly.chunk(b"tEXt", b"Comment\0a cat")
    assert decode(turned[:33] + texts + turned[33:]).size == (48, 32)


def test_phone_camera_image_sizes_are_within_the_limits() -> None:
    for size in ((8160, 6144), (8192, 6144), (9248, 6936)):
        assert open_image(samples.png_header_of(*size) + costly.chunk(b"IDAT", b"")).size == size


@pytest.mark.parametrize(("bits", "photometric"), [(16, 0), (16, 1), (32, 1)])
def test_unsigned_grey_tiff_is_scaled(bits: int, photometric: int) -> None:
    brightest = 2**bits - 1
    ramp = np.array([[0, brightest // 2, brightest]], np.uint64)
    grey = np.asarray(decode(costly.grey_tiff(ramp, bits, photometric)))[0, :, 0].astype(int)
    expected = [0, 127, 255] if photometric == 1 else [255, 127, 0]
    np.testing.assert_allclose(grey, expected, atol=1)


def test_largest_tiff_page_is_used() -> None:
    small = Image.new("RGB", (160, 120), samples.RED)
    large = Image.new("RGB", (640, 480), samples.BLUE)
    data = samples.encode(small, "TIFF", save_all=True, append_images=[large])
    assert decode(data).getpixel((5, 5)) == samples.BLUE
    same = samples.encode(small, "TIFF", save_all=True, append_images=[Image.new("RGB", (160, 120))])
    assert decode(same).getpixel((5, 5)) == samples.RED


def test_largest_jpeg_of_a_raw_file_is_used() -> None:
    thumbnail, preview = samples.jpeg(160, 120), samples.jpeg(640, 480)
    assert decode(costly.camera_raw([thumbnail, preview, samples.jpeg(320, 240)])).size == (640, 480)
    assert decode(costly.camera_raw([preview], orientation=6)).size == (480, 640)


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (costly.camera_raw([samples.jpeg(160, 120)]), "a camera's raw file"),
        (b"FUJIFILMCCD-RAW " + bytes(99), "Fujifilm"),
        (b"\0\0\0\x18ftypcrx " + bytes(99), "CR3"),
        (b"II*\0\x10\0\0\0CR\x02\0" + bytes(99), "CR2"),
    ],
)
def test_raw_file_without_a_jpeg_is_rejected_naming_its_format(data: bytes, kind: str) -> None:
    with pytest.raises(errors.UnsupportedImageError, match=kind) as caught:
        decode(data)
    assert "JPEG" in caught.value.hint


@pytest.mark.parametrize(
    ("mode", "form"), [("RGB", "PNG"), ("RGBA", "PNG"), ("L", "PNG"), ("P", "GIF"), ("CMYK", "TIFF")]
)
def test_large_images_are_reduced_and_look_the_same(mode: str, form: str) -> None:
    picture = samples.picture().resize((2_400, 1_800))
    data = samples.encode(picture.convert(mode), form)
    reduced, whole = decode(data, minimum_side=224), decode(data)
    assert whole.size == (2_400, 1_800)
    assert reduced.size == (480, 450)
    difference = np.asarray(reduced, np.int16) - np.asarray(whole.resize((480, 450)), np.int16)
    assert np.abs(difference).mean() < 3


def test_very_narrow_image_is_reduced_along_its_length_only() -> None:
    assert decode(costly.blank_png(1, 90_000), minimum_side=448).size == (1, 900)
