"""What holds for every engine: the bundle's model behind NumPy arrays; company, threads, published heads."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from engine_bundles import BUNDLES, NAMES, VOCABULARY, load_openvino

from sigrl.model.bundle import load_bundle
from sigrl.model.bundle_files import BundleError
from sigrl.model.features import LabelFeatures
from sigrl.model.graph_engine import GraphEngine
from sigrl.model.leaving_out import GRID
from sigrl.model.onnx_engine import OnnxEngine
from sigrl.model.openvino_engine import OpenVinoEngine
from sigrl.model.svfr import SemanticFeatureReconstruction
from sigrl.model.torch_engine import TorchEngine
from sigrl.model.vocabulary import Label, Vocabulary


@pytest.fixture(params=["torch", "onnx", "openvino"])
def load(request, make, make_exported):
    """Name of one of `BUNDLES`, options -> an engine of it, on the CPU in float32."""
    if request.param == "torch":
        return lambda name, **options: TorchEngine.load(make(name), "cpu", precision="float32", **options)
    if request.param == "openvino":
        return lambda name, **options: load_openvino(make_exported(name), **options)
    return lambda name, **options: OnnxEngine.load(make_exported(name), "cpu", **options)


@pytest.fixture
def engine(load):
    return load("sigrl")


@pytest.fixture
def pixels():
    return np.random.default_rng(0).standard_normal((3, 3, 64, 64), dtype=np.float32)


def scores(engine, pixels, names=NAMES):
    return engine.score(engine.encode_images(pixels), engine.encode_labels(Vocabulary.from_names(names)))


def test_engine_exposes_the_bundle_metadata(engine, tiny_description):
    assert engine.checkpoint_id.startswith("sha256:")
    assert engine.manifest.name == tiny_description.name
    assert engine.preprocessing == tiny_description.preprocessing
    assert engine.default_threshold == 0.5


@pytest.mark.parametrize("name", BUNDLES)
def test_scores_and_explanations_match_the_model_head(make, load, pixels, name):
    model = load_bundle(make(name)).model
    with torch.no_grad():
        image_features = model.backbone.encode_images(torch.from_numpy(pixels))
        label_features = model.head.label_features(model.backbone.encode_labels(VOCABULARY.labels))
        expected = model.head.score(image_features, label_features).numpy()
        local = model.head.local_scores(image_features, label_features).numpy()
    engine = load(name)
    features, labels = engine.encode_images(pixels), engine.encode_labels(VOCABULARY)
    ours = engine.score(features, labels)
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, expected, rtol=0, atol=2e-5 * np.abs(expected).max())
    explained = engine.explain(features, labels)
    assert explained.dtype == np.float32
    if name == "clip":
        assert explained.shape == (3, len(NAMES), GRID, GRID)
    else:
        assert explained.shape == (3, len(NAMES), *features.grid)
        np.testing.assert_allclose(
            explained[1, 2].ravel(), local[1, :, 2], rtol=0, atol=2e-5 * np.abs(local).max()
        )
    rebuilt = name in ("sigrl", "sigrl-no-gmc", "biam", "biam-published")
    assert (features.rebuilt_tokens is not None) == rebuilt


def test_label_score_does_not_depend_on_other_labels(engine, pixels):
    whole = scores(engine, pixels)
    for number, name in enumerate(NAMES):
        np.testing.assert_allclose(scores(engine, pixels, [name])[:, 0], whole[:, number], atol=1e-4)
    np.testing.assert_allclose(scores(engine, pixels, NAMES[::-1])[:, ::-1], whole, atol=1e-4)


def test_image_score_does_not_depend_on_the_batch(engine, pixels):
    whole = scores(engine, pixels)
    for number in range(3):
        np.testing.assert_allclose(scores(engine, pixels[number][None])[0], whole[number], atol=1e-4)


def test_published_form_can_limit_svfr_to_some_labels(make, load, pixels, monkeypatch):
    whole = scores(load("sigrl-published"), pixels)
    for most in (len(NAMES), 1000):
        np.testing.assert_array_equal(scores(load("sigrl-published", svfr_labels=most), pixels), whole)
    model = load_bundle(make("sigrl-published")).model
    with torch.no_grad():
        features = model.backbone.encode_images(torch.from_numpy(pixels))
        labels = model.head.label_features(model.backbone.encode_labels(VOCABULARY.labels))
        ends = LabelFeatures(labels.label_embeddings[[0, -1]], labels.refined[[0, -1]])
        rebuilt = model.head.reconstruct(features, ends)
        expected = model.head.score(replace(features, rebuilt_tokens=rebuilt), labels).numpy()
    counts = []
    for owner, name in ((SemanticFeatureReconstruction, "forward"), (GraphEngine, "_rebuild")):
        original = getattr(owner, name)

        def spy(self, tokens, labels, *rest, run=original):
            counts.append(len(labels))
            return run(self, tokens, labels, *rest)

        monkeypatch.setattr(owner, name, spy)
    ours = scores(load("sigrl-published", svfr_labels=2), pixels)
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-5)
    assert counts == [2]


def test_probabilities_are_the_sigmoid_of_logits(engine):
    logits = np.array([[-200.0, -1.0, 0.0, 200.0]], dtype=np.float32)
    labels = engine.encode_labels(Vocabulary.from_names(NAMES[:4]))
    probabilities = engine.probabilities(logits, labels)
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities, [[0, 1 / (1 + np.e), 0.5, 1]], atol=1e-7)


def test_published_score_probabilities_keep_the_ranking_per_image(load):
    engine = load("mkt-published")
    small = np.random.default_rng(0).standard_normal((4, 20)).astype(np.float32) / 100
    labels = engine.encode_labels(VOCABULARY)
    probabilities = engine.probabilities(small, labels)
    assert probabilities.dtype == np.float32
    assert ((probabilities > 0) & (probabilities < 1)).all()
    np.testing.assert_array_equal(probabilities.argsort(axis=1), small.argsort(axis=1))
    np.testing.assert_allclose(engine.probabilities(small * 50 + 3, labels), probabilities, atol=1e-4)
    np.testing.assert_array_equal(engine.probabilities(small[:, :1], labels), 0.5)


def test_concurrent_calls_return_the_same_scores(engine):
    batches = np.random.default_rng(1).standard_normal((8, 2, 3, 64, 64), dtype=np.float32)
    expected = [scores(engine, batch) for batch in batches]
    with ThreadPoolExecutor(4) as pool:
        for ours, alone in zip(pool.map(lambda batch: scores(engine, batch), batches), expected, strict=True):
            np.testing.assert_allclose(ours, alone, atol=1e-5)


def test_progress_counts_labels(engine):
    seen: list[int] = []
    label = Label(name="dog", synonyms=("hound", "puppy"))
    features = engine.encode_labels(Vocabulary(labels=(label, "cat")), seen.append)
    assert seen[-1] == 2
    assert features.refined.shape == (2, 32)
    assert features.refined.nbytes == 2 * 32 * 4


@pytest.mark.parametrize("shape", [(3, 64, 64), (1, 64, 64, 3), (1, 3, 32, 32)])
def test_pixel_values_of_wrong_shape_are_rejected(engine, shape):
    with pytest.raises(ValueError, match=r"expected \(B, 3, 64, 64\)"):
        engine.encode_images(np.zeros(shape, np.float32))


def test_read_only_pixel_values_are_accepted(engine, pixels):
    pixels.flags.writeable = False
    assert engine.encode_images(pixels).image_embeddings.shape == (3, 32)


@pytest.mark.parametrize("device", ["nonsense", "cuda:99", "meta:x", "cpu:x"])
@pytest.mark.parametrize("kind", [TorchEngine, OnnxEngine])
def test_unavailable_device_is_rejected(make_exported, kind, device):
    with pytest.raises(ValueError, match=f"the device '{device}' cannot be used"):
        kind.load(make_exported("sigrl"), device)


@pytest.mark.parametrize("kind", [TorchEngine, OnnxEngine, OpenVinoEngine])
def test_load_without_a_path_uses_the_bundled_checkpoint(make_exported, kind, monkeypatch, tmp_path):
    monkeypatch.setattr(f"{kind.__module__}.bundled_path", lambda: make_exported("sigrl"))
    assert kind.load().manifest.name == "tiny"
    with pytest.raises(BundleError):
        kind.load(tmp_path)


@pytest.mark.parametrize("name", BUNDLES)
def test_packed_labels_give_bit_identical_scores(load, pixels, name):
    engine = load(name)
    images, labels = engine.encode_images(pixels), engine.encode_labels(VOCABULARY)
    arrays = {name: array.copy() for name, array in engine.pack_labels(labels).items()}
    assert all(len(array) == len(NAMES) for array in arrays.values())
    again = load(name).unpack_labels(arrays)
    np.testing.assert_array_equal(engine.score(images, again), engine.score(images, labels))


def test_unpack_labels_rejects_invalid_arrays(engine):
    arrays = engine.pack_labels(engine.encode_labels(VOCABULARY))
    one = arrays["refined"]
    wrong = [{}, {"refined": one}, arrays | {"other": one}, arrays | {"refined": one[:2]}]
    for change in (np.float64, lambda array: array[:, 1:]):
        wrong.append({name: change(array) for name, array in arrays.items()})
    for each in wrong:
        with pytest.raises(ValueError, match="not label features"):
            engine.unpack_labels(each)
