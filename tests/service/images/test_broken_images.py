"""Whatever bytes come: an upright RGB image within the limits, or an ImageError. Never another exception, a
crash, or memory for more pixels than are allowed."""

import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import sample_images as samples
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from sigrl.service.errors import ImageError
from sigrl.service.images.decoding import decode
from sigrl.service.images.files import ImageLimits

LIMITS = ImageLimits(max_pixels=100_000)
GOOD = {
    **{
        form: samples.encode(samples.picture(), form)
        for form in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "AVIF")
    },
    "TIFF": samples.encode(samples.picture(), "TIFF", compression="tiff_lzw"),
    "JPEG, progressive": samples.encode(samples.picture(), "JPEG", progressive=True),
    "JPEG, on its side": samples.exif_rotated("JPEG", 6),
    "JPEG, CMYK": samples.cmyk_jpeg(icc_profile=b"no profile at all"),
    "PNG, palette": samples.encode(samples.picture().quantize(4), "PNG", transparency=0),
    "GIF, animated": samples.animated("GIF"),
    "WEBP, animated": samples.animated("WEBP"),
    "HEIC": samples.HEIC,
    "HEIC, on its side": samples.HEIC_ROTATED,
}


@st.composite
def broken(draw: st.DrawFn, good: bytes) -> bytes:
    """A good file after a few accidents: cut off, overwritten, with a piece lost, repeated or put in."""
    data = bytearray(good)
    for _ in range(draw(st.integers(1, 4))):
        # Headers are at the beginning, and what is wrong there does most.
        longest = draw(st.sampled_from([min(64, len(data)), len(data)]))
        start = draw(st.integers(0, longest))
        end = min(start + draw(st.integers(0, 32)), len(data))
        accident = draw(st.sampled_from(["cut", "lose", "repeat", "overwrite", "insert"]))
        if accident == "cut":
            del data[start:]
        elif accident == "lose":
            del data[start:end]
        elif accident == "repeat":
            data[end:end] = data[start:end]
        elif accident == "overwrite":
            data[start:end] = draw(st.binary(min_size=end - start, max_size=end - start))
        else:
            data[start:start] = draw(
                st.one_of(st.binary(max_size=16), st.sampled_from([b"\xff" * 8, bytes(8)]))
            )
    return bytes(data)


def check(data: bytes, minimum_side: int | None = None) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            image = decode(data, LIMITS, minimum_side)
        except ImageError:
            return
    assert image.mode == "RGB"
    assert image.width * image.height <= LIMITS.max_pixels
    # All of it is there, and nothing is left to fail later.
    assert len(image.tobytes()) == image.width * image.height * 3


@pytest.mark.parametrize("kind", GOOD)
@given(data=st.data(), side=st.sampled_from([None, 8]))
@settings(max_examples=60, deadline=None)
def test_broken_files_give_an_image_or_an_image_error(
    kind: str, data: st.DataObject, side: int | None
) -> None:
    check(data.draw(broken(GOOD[kind])), side)


@given(st.binary(max_size=256))
@example(b"\xff\xd8\xff")
@example(b"\0\0\0\x18ftypheic")
@example(b"RIFF\xff\xff\xff\xffWEBPVP8X")
@settings(deadline=None)
def test_arbitrary_bytes_give_an_image_or_an_image_error(data: bytes) -> None:
    check(data)


def giants() -> list[bytes]:
    """Small files of sixteen megapixels, and their headers say so."""
    black = Image.new("RGB", (4000, 4000))
    tiff = samples.encode(black, "TIFF", compression="tiff_lzw")
    return [tiff, *(samples.encode(black, form) for form in ("PNG", "GIF", "WEBP", "JPEG"))]


@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited as Linux does it")
def test_decoding_memory_stays_within_the_limits(tmp_path: Path) -> None:
    for number, data in enumerate(giants()):
        (tmp_path / str(number)).write_bytes(data)
    # A process of its own: what this one ever needed cannot be taken back.
    code = (
        "import resource, sys; from pathlib import Path; import test_broken_images as t\n"
        "t.check(t.GOOD['HEIC']); before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "for path in Path(sys.argv[1]).iterdir():\n"
        "    try: t.decode(path.read_bytes(), t.LIMITS)\n"
        "    except t.ImageError: continue\n"
        "    sys.exit(f'{path} was decoded')\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    paths = [str(Path(__file__).parents[number]) for number in (0, 1, 3)]
    ran = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = {paths!r}\n{code}", str(tmp_path)],
        check=False,
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    # Kibibytes. One of the five takes forty-eight thousand.
    assert int(ran.stdout) < 16_000
