import numpy as np
import pytest
from PIL import Image

from sigrl.model.config import Preprocessing
from sigrl.model.preprocess import preprocess

PLAIN = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}


def _noise(width: int, height: int) -> Image.Image:
    values = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(values)


SIZES = [(64, 48), (48, 64), (301, 200), (33, 500), (32, 32), (20, 31)]


# Of a box in a very tall photograph Pillow makes its two passes in the other order, and rounds between them.
@pytest.mark.parametrize(
    ("size", "short_side"),
    [*((size, None) for size in SIZES), *((size, 37) for size in SIZES if size != (33, 500))],
)
def test_crop_is_resize_then_centre_crop(size: tuple[int, int], short_side: int | None) -> None:
    image, side = _noise(*size), 32
    width, height = ((short_side or side) * length // min(size) for length in size)
    left, top = round((width - side) / 2), round((height - side) / 2)
    resized = image.resize((width, height), Image.Resampling.BICUBIC)
    expected = np.asarray(resized.crop((left, top, left + side, top + side)), np.float32) / 255
    preprocessing = Preprocessing(image_size=side, resize="crop", short_side=short_side, **PLAIN)
    found = preprocess(image, preprocessing)
    # Pillow rounds the box's edges to float32, which may move a value by one step of 255.
    np.testing.assert_allclose(found, expected.transpose(2, 0, 1), atol=1.01 / 255)


def test_squash_resizes_the_whole_image() -> None:
    image = _noise(60, 40)
    expected = np.asarray(image.resize((16, 16), Image.Resampling.BILINEAR), np.float32) / 255
    found = preprocess(
        image, Preprocessing(image_size=16, resize="squash", interpolation="bilinear", **PLAIN)
    )
    np.testing.assert_array_equal(found, expected.transpose(2, 0, 1))


def test_mean_and_std_are_applied_per_channel() -> None:
    preprocessing = Preprocessing(image_size=16, mean=(0.1, 0.2, 0.3), std=(0.5, 0.25, 0.125))
    found = preprocess(Image.new("RGB", (20, 20), (255, 0, 51)), preprocessing)
    assert found.shape == (3, 16, 16)
    assert found.dtype == np.float32
    assert found.flags["C_CONTIGUOUS"]
    np.testing.assert_allclose(found[:, 3, 7], [1.8, -0.8, -0.8], rtol=1e-6)


@pytest.mark.parametrize("size", [(1, 1), (1, 50_000), (50_000, 1), (2, 3)])
@pytest.mark.parametrize("resize", ["crop", "squash"])
def test_extreme_aspect_ratios_give_finite_values(size: tuple[int, int], resize: str) -> None:
    image = Image.new("RGB", size, (10, 20, 30))
    found = preprocess(image, Preprocessing.model_validate({"resize": resize}))
    assert found.shape == (3, 224, 224)
    assert np.isfinite(found).all()
    assert np.ptp(found[0]) == 0


def test_non_rgb_images_are_rejected() -> None:
    with pytest.raises(ValueError, match="not L"):
        preprocess(Image.new("L", (4, 4)), Preprocessing())


def test_short_side_is_valid_only_for_crop_and_omitted_when_unset() -> None:
    """Manifests, and the names of caches, stay as they were before it existed."""
    assert "short_side" not in Preprocessing().model_dump()
    assert "short_side" not in Preprocessing().model_dump_json()
    larger = Preprocessing(short_side=256)
    assert Preprocessing.model_validate(larger.model_dump(mode="json")) == larger
    for wrong in ({"short_side": 200}, {"short_side": 256, "resize": "squash"}):
        with pytest.raises(ValueError, match="`short_side` is for `resize: crop`"):
            Preprocessing(**wrong)
