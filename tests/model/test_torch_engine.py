"""TorchEngine: the bundle's model behind NumPy arrays; company, chunks, threads, published heads."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from model.bundle import TaggingModel, load_bundle, save_bundle
from model.bundle_files import BundleError
from model.config import HeadConfig
from model.engine import Engine
from model.torch_engine import TorchEngine
from model.vocabulary import Label, Vocabulary

NAMES = ("dog", "zebra", "red car", "a very long thing with many words", "x")
VOCABULARY = Vocabulary.from_names(NAMES)
HEADS = {
    "sigrl": HeadConfig(top_k=2, context_labels=("dog", "cat", "tree")),
    "sigrl-no-svfr": HeadConfig(top_k=2, context_labels=("dog", "cat", "tree"), svfr=False),
    "clip": HeadConfig(kind="clip"),
    "mkt": HeadConfig(kind="mkt", top_k=2),
    "sigrl-published": HeadConfig(form="published", top_k=2),
    "mkt-published": HeadConfig(kind="mkt", form="published", top_k=2),
}


@pytest.fixture
def engine(tiny_bundle) -> Engine:
    return TorchEngine.load(tiny_bundle, device="cpu", precision="float32")


@pytest.fixture
def make(tmp_path, tiny_description, tokenizer_definition):
    """Name of a head -> directory of a bundle with it."""

    def make(name: str) -> Path:
        description = tiny_description.model_copy(update={"head": HEADS[name]})
        model = TaggingModel(description.backbone, description.head, tokenizer_definition)
        if name.startswith("sigrl") and description.head.form == "context":
            model.head.set_context(torch.randn(3, 32))
        save_bundle(tmp_path / name, description, model.state_dict(), tokenizer_definition)
        return tmp_path / name

    return make


@pytest.fixture
def pixels() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((3, 3, 64, 64), dtype=np.float32)


def scores(engine: Engine, pixels: np.ndarray, names=NAMES) -> np.ndarray:
    return engine.score(engine.encode_images(pixels), engine.encode_labels(Vocabulary.from_names(names)))


def test_it_says_what_its_bundle_says(engine, tiny_bundle, tiny_description):
    assert engine.checkpoint_id == load_bundle(tiny_bundle).checkpoint_id
    assert engine.preprocessing == tiny_description.preprocessing
    assert engine.default_threshold == 0.5


@pytest.mark.parametrize("name", HEADS)
def test_scores_and_explanations_are_the_heads(make, pixels, name):
    directory = make(name)
    model = load_bundle(directory).model
    with torch.no_grad():
        image_features = model.backbone.encode_images(torch.from_numpy(pixels))
        label_features = model.head.label_features(model.backbone.encode_labels(VOCABULARY.labels))
        expected = model.head.score(image_features, label_features).numpy()
        local = model.head.local_scores(image_features, label_features).numpy()
    engine = TorchEngine.load(directory, device="cpu", precision="float32")
    features, labels = engine.encode_images(pixels), engine.encode_labels(VOCABULARY)
    ours = engine.score(features, labels)
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, expected, rtol=0, atol=2e-5 * np.abs(expected).max())
    explained = engine.explain(features, labels)
    assert explained.shape == (3, len(NAMES), *features.grid)
    np.testing.assert_allclose(
        explained[1, 2].ravel(), local[1, :, 2], rtol=0, atol=2e-5 * np.abs(local).max()
    )
    assert (features.rebuilt_tokens is not None) == (name == "sigrl")


def test_tokens_are_rebuilt_once_for_all_vocabularies(engine, pixels, monkeypatch):
    features = engine.encode_images(pixels)
    labels = engine.encode_labels(VOCABULARY)
    with_tokens = engine.score(features, labels)
    np.testing.assert_allclose(
        engine.score(replace(features, rebuilt_tokens=None), labels), with_tokens, atol=1e-5
    )
    monkeypatch.delattr("model.svfr.SemanticFeatureReconstruction.forward")
    np.testing.assert_array_equal(engine.score(features, labels), with_tokens)


def test_a_label_scores_the_same_in_any_company(engine, pixels):
    whole = scores(engine, pixels)
    for number, name in enumerate(NAMES):
        np.testing.assert_allclose(scores(engine, pixels, [name])[:, 0], whole[:, number], atol=1e-4)
    np.testing.assert_allclose(scores(engine, pixels, NAMES[::-1])[:, ::-1], whole, atol=1e-4)


def test_scores_come_in_chunks_of_labels(engine, pixels, set_budget, allocations):
    names = [f"label {number}" for number in range(300)]
    features = engine.encode_images(np.concatenate([pixels] * 8))
    labels = engine.encode_labels(Vocabulary.from_names(names))
    whole = engine.score(features, labels)
    one_label = 4 * features.patch_tokens.shape[0] * features.patch_tokens.shape[1]
    set_budget(50 * one_label)
    with allocations:
        chunked = engine.score(features, labels)
    np.testing.assert_allclose(chunked, whole, atol=1e-5)
    assert allocations.largest <= max(50 * one_label, labels.refined.nbytes) < 300 * one_label / 2


def test_published_scores_are_never_chunked(make, pixels, set_budget):
    engine = TorchEngine.load(make("mkt-published"), device="cpu")
    features, labels = engine.encode_images(pixels), engine.encode_labels(VOCABULARY)
    whole = engine.score(features, labels)
    set_budget(1)
    np.testing.assert_array_equal(engine.score(features, labels), whole)


def test_probabilities_of_logits_are_their_sigmoid(engine):
    logits = np.array([[-200.0, -1.0, 0.0, 200.0]], dtype=np.float32)
    probabilities = engine.probabilities(logits)
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities, [[0, 1 / (1 + np.e), 0.5, 1]], atol=1e-7)


def test_probabilities_of_published_scores_rank_within_a_photograph(make):
    engine = TorchEngine.load(make("mkt-published"), device="cpu")
    small = np.random.default_rng(0).standard_normal((4, 20)).astype(np.float32) / 100
    probabilities = engine.probabilities(small)
    assert ((probabilities > 0) & (probabilities < 1)).all()
    np.testing.assert_array_equal(probabilities.argsort(axis=1), small.argsort(axis=1))
    np.testing.assert_allclose(engine.probabilities(small * 50 + 3), probabilities, atol=1e-4)
    np.testing.assert_array_equal(engine.probabilities(small[:, :1]), 0.5)


def test_threads_get_what_one_caller_gets(engine):
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


def test_nothing_is_kept_for_a_backward_pass(engine, pixels):
    assert not engine.encode_images(pixels).patch_tokens.requires_grad
    assert not engine.encode_labels(VOCABULARY).refined.requires_grad


@pytest.mark.parametrize("shape", [(3, 64, 64), (1, 64, 64, 3), (1, 3, 32, 32)])
def test_pixel_values_of_another_shape_are_refused(engine, shape):
    with pytest.raises(ValueError, match=r"expected \(B, 3, 64, 64\)"):
        engine.encode_images(np.zeros(shape, np.float32))


def test_read_only_pixel_values_are_taken(engine, pixels):
    pixels.flags.writeable = False
    assert engine.encode_images(pixels).image_embeddings.shape == (3, 32)


@pytest.mark.parametrize("device", ["nonsense", "cuda:99", "meta:x"])
def test_a_device_that_is_not_there_is_refused(tiny_bundle, device):
    with pytest.raises(ValueError, match="cannot be used"):
        TorchEngine.load(tiny_bundle, device)


def test_without_a_path_the_bundled_checkpoint_is_loaded(tiny_bundle, monkeypatch, tmp_path):
    monkeypatch.setattr("model.torch_engine.bundled_path", lambda: tiny_bundle)
    assert TorchEngine.load().manifest.name == "tiny"
    with pytest.raises(BundleError):
        TorchEngine.load(tmp_path)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_gives_the_same_scores(tiny_bundle, engine, pixels):
    ours = scores(TorchEngine.load(tiny_bundle, "cuda"), pixels)
    np.testing.assert_allclose(ours, scores(engine, pixels), atol=1e-2)
