"""What raised a score, for heads that match whole photographs alone: pictures with a thing in a known place,
labels that the thing speaks for and against."""

import numpy as np
import pytest
import torch
from engine_bundles import VOCABULARY, load_openvino

from sigrl.model import leaving_out
from sigrl.model.features import LabelFeatures
from sigrl.model.leaving_out import GRID, falls
from sigrl.model.onnx_engine import OnnxEngine
from sigrl.model.torch_engine import TorchEngine

PLACES = ((0, 0), (1, 3), (4, 2))


@pytest.fixture(scope="module")
def thing():
    return np.random.default_rng(3).choice([-2.0, 2.0], (3, 12, 12)).astype(np.float32)


def _picture(thing, place):
    """A dim background with the thing in the middle of a square of the grid."""
    picture = np.random.default_rng(4).normal(scale=0.05, size=(3, 64, 64)).astype(np.float32)
    row, column = (round(64 * index / GRID) for index in place)
    picture[:, row : row + 12, column : column + 12] = thing
    return picture


def test_map_value_is_the_score_drop_without_that_square():
    """Scores that are sums over the photograph: the falls then add up to what is above the mean colour."""
    pixels = np.random.default_rng(0).standard_normal((2, 3, 30, 30), dtype=np.float32)
    weights = np.random.default_rng(1).standard_normal((4, 3, 30, 30), dtype=np.float32)
    maps = falls(lambda given: np.einsum("bxyz,cxyz->bc", given, weights), pixels)
    assert maps.shape == (2, 4, GRID, GRID)
    above = (pixels - pixels.mean(axis=(2, 3), keepdims=True))[:, None] * weights
    np.testing.assert_allclose(maps.sum(axis=(2, 3)), above.sum(axis=(2, 3, 4)), rtol=1e-3, atol=1e-2)
    np.testing.assert_allclose(maps[1, 2, 3, 1], above[1, 2, :, 18:24, 6:12].sum(), rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize("runtime", ["torch", "onnx", "openvino"])
def test_map_shows_location_and_sign_of_an_object(make, make_exported, thing, runtime):
    """On a clip head with random weights. One label's vector is what the thing changes in the photograph's,
    and another's is the opposite: the first is raised by the thing, the second is lowered."""
    load = {
        "torch": lambda: TorchEngine.load(make("clip"), "cpu", precision="float32"),
        "onnx": lambda: OnnxEngine.load(make_exported("clip"), "cpu"),
        "openvino": lambda: load_openvino(make_exported("clip")),
    }
    engine = load[runtime]()
    pictures = np.stack([_picture(thing, place) for place in PLACES])
    empty = np.repeat(_picture(0.0, (0, 0))[None], 3, axis=0)
    changes = engine.image_embeddings(engine.encode_images(pictures)) - engine.image_embeddings(
        engine.encode_images(empty)
    )
    directions = np.concatenate([changes, -changes])
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    rows = torch.from_numpy(directions) if runtime == "torch" else directions
    images = engine.encode_images(pictures)
    maps = engine.explain(images, LabelFeatures(rows, refined=rows))
    for number, place in enumerate(PLACES):
        raised, lowered = maps[number, number], maps[number, 3 + number]
        assert np.unravel_index(raised.argmax(), raised.shape) == place
        assert np.unravel_index(lowered.argmin(), lowered.shape) == place
        assert raised[place] > 0 > lowered[place]


def test_map_of_a_single_colour_image_is_zero(make):
    engine = TorchEngine.load(make("clip"), "cpu", precision="float32")
    images = engine.encode_images(np.full((1, 3, 64, 64), 0.5, np.float32))
    np.testing.assert_allclose(engine.explain(images, engine.encode_labels(VOCABULARY)), 0, atol=1e-4)


def test_occluded_images_are_encoded_in_small_batches():
    seen = []
    falls(
        lambda given: seen.append(len(given)) or np.zeros((len(given), 1), np.float32),
        np.zeros((1, 3, 64, 64)),
    )
    assert max(seen) == leaving_out._BATCH
    assert sum(seen) == 1 + GRID * GRID
