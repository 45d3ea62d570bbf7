"""A photograph looks the same under whatever profile it is saved."""

import struct
from io import BytesIO

import numpy as np
import pytest
import sample_images as samples
from PIL import Image, ImageCms

from sigrl.service.images.decoding import decode

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def _fixed(*values: float) -> bytes:
    return b"".join(struct.pack(">i", round(value * 65_536)) for value in values)


def _profile(
    red: tuple[float, ...], green: tuple[float, ...], blue: tuple[float, ...], gamma: float
) -> bytes:
    """A profile of three primaries, as colours under D50, and a gamma."""
    curve = b"curv\0\0\0\0" + struct.pack(">IHH", 1, int(gamma * 256), 0)
    tags = [
        (b"desc", b"desc\0\0\0\0" + struct.pack(">I", 5) + b"wide\0" + bytes(78)),
        (b"wtpt", b"XYZ \0\0\0\0" + _fixed(0.9642, 1.0, 0.8249)),
        *((name, b"XYZ \0\0\0\0" + _fixed(*of)) for name, of in ((b"rXYZ", red), (b"gXYZ", green))),
        (b"bXYZ", b"XYZ \0\0\0\0" + _fixed(*blue)),
        *((name, curve) for name in (b"rTRC", b"gTRC", b"bTRC")),
    ]
    table, body = struct.pack(">I", len(tags)), b""
    for name, content in tags:
        content += bytes(-len(content) % 4)
        table += name + struct.pack(">II", 132 + 12 * len(tags) + len(body), len(content))
        body += content
    size = 128 + len(table) + len(body)
    head = struct.pack(">I", size) + b"lcms" + b"\x02\x40\0\0" + b"mntrRGB XYZ " + bytes(12) + b"acsp"
    head = head.ljust(68, b"\0") + _fixed(0.9642, 1.0, 0.8249)
    return head.ljust(128, b"\0") + table + body


PROPHOTO = _profile((0.7977, 0.2880, 0.0), (0.1352, 0.7119, 0.0), (0.0313, 0.0001, 0.8249), 1.8)
DISPLAY_P3 = _profile(
    (0.51512, 0.2412, -0.00105), (0.29198, 0.69225, 0.04189), (0.1571, 0.06657, 0.78407), 2.2
)


def _ramps() -> Image.Image:
    """Colours that every profile can show, with no edges that JPEG would blur."""
    y, x = np.mgrid[0:96, 0:128]
    return Image.fromarray(np.stack([60 + x, 80 + y, 200 - x], -1).astype(np.uint8))


@pytest.mark.parametrize("profile", [PROPHOTO, DISPLAY_P3], ids=["ProPhoto", "Display P3"])
@pytest.mark.parametrize("form", ["PNG", "JPEG", "TIFF", "WEBP"])
def test_wide_gamut_profiles_are_converted_to_srgb(profile: bytes, form: str) -> None:
    ours = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
    wide = ImageCms.profileToProfile(_ramps(), ours, BytesIO(profile), outputMode="RGB")
    assert wide is not None
    assert np.abs(np.asarray(wide, np.int16) - np.asarray(_ramps(), np.int16)).max() > 10
    options = (
        {"lossless": True} if form == "WEBP" else {"quality": 100, "subsampling": 0} if form == "JPEG" else {}
    )
    seen = decode(samples.encode(wide, form, icc_profile=profile, **options))
    change = np.abs(np.asarray(seen, np.int16) - np.asarray(_ramps(), np.int16))
    # JPEG rounds before the profile stretches the colours: single pixels are off by more.
    assert change.mean() < 2
    assert form == "JPEG" or change.max() <= 3


def test_channel_swapping_profile_is_applied() -> None:
    # Its name is still that of sRGB.
    swapping = SRGB.replace(b"rXYZ", b"QQQQ").replace(b"bXYZ", b"rXYZ").replace(b"QQQQ", b"bXYZ")
    red, green, blue = _ramps().split()
    swapped = Image.merge("RGB", (blue, green, red))
    seen = decode(samples.encode(swapped, "PNG", icc_profile=swapping))
    assert np.abs(np.asarray(seen, np.int16) - np.asarray(_ramps(), np.int16)).max() <= 2


@pytest.mark.parametrize("profile", [SRGB, b"no profile", b"junk" * 5_000_000], ids=["sRGB", "junk", "large"])
def test_srgb_and_unusable_profiles_leave_pixels_unchanged(profile: bytes) -> None:
    data = samples.encode(_ramps(), "TIFF", icc_profile=profile)
    np.testing.assert_array_equal(np.asarray(decode(data)), np.asarray(_ramps()))


def test_profile_of_another_mode_is_ignored() -> None:
    data = samples.encode(_ramps().convert("L"), "PNG", icc_profile=PROPHOTO)
    np.testing.assert_array_equal(np.asarray(decode(data)), np.asarray(_ramps().convert("L").convert("RGB")))


def test_lab_image_without_a_profile_is_converted() -> None:
    seen = decode(samples.encode(Image.new("LAB", (4, 4), (128, 128, 128)), "TIFF"))
    assert np.ptp(np.asarray(seen)[0, 0]) <= 3
