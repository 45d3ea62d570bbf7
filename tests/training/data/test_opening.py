"""A photograph is trained on in the form in which it is served: upright, opaque, RGB."""

import io
from pathlib import Path

import numpy as np
import pi_heif
import pytest
from PIL import Image

from sigrl.service.images import decoding as images
from sigrl.training.data.opening import open_photograph


def write(path: Path, kind: str) -> None:
    noise = np.random.RandomState(0).randint(0, 256, (24, 32, 4), dtype=np.uint8)
    if kind == "turned":
        exif = Image.Exif()
        exif[0x0112] = 6
        Image.fromarray(noise[..., :3]).save(path, "JPEG", exif=exif)
    elif kind == "transparent":
        Image.fromarray(noise).save(path, "PNG")
    elif kind == "palette":
        Image.fromarray(noise[..., 0]).convert("P").save(path, "PNG", transparency=3)
    else:
        Image.fromarray(noise[..., 0]).save(path, "WEBP")


@pytest.mark.parametrize("kind", ["turned", "transparent", "palette", "grey"])
def test_open_photograph_matches_the_service_decoder(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "photograph"
    write(path, kind)
    served = images.decode(path.read_bytes())
    ours = open_photograph(path)
    assert ours.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(ours), np.asarray(served))
    assert ours.size == ((24, 32) if kind == "turned" else (32, 24))


def test_heic_images_are_supported() -> None:
    assert pi_heif.is_supported(io.BytesIO(b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic"))
    assert ".heic" in Image.registered_extensions()
