"""TorchEngine beside what holds for every engine (test_engines.py): chunks, devices, no backward pass."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from engine_bundles import NAMES, VOCABULARY

from sigrl.model.engine import Engine
from sigrl.model.torch_engine import TorchEngine
from sigrl.model.vocabulary import Vocabulary


@pytest.fixture
def engine(tiny_bundle) -> Engine:
    return TorchEngine.load(tiny_bundle, device="cpu", precision="float32")


@pytest.fixture
def pixels() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((3, 3, 64, 64), dtype=np.float32)


def scores(engine: Engine, pixels: np.ndarray, names=NAMES) -> np.ndarray:
    return engine.score(engine.encode_images(pixels), engine.encode_labels(Vocabulary.from_names(names)))


def test_rebuilt_tokens_are_reused_for_all_vocabularies(engine, pixels, monkeypatch):
    features = engine.encode_images(pixels)
    labels = engine.encode_labels(VOCABULARY)
    with_tokens = engine.score(features, labels)
    np.testing.assert_allclose(
        engine.score(replace(features, rebuilt_tokens=None), labels), with_tokens, atol=1e-5
    )
    monkeypatch.delattr("sigrl.model.svfr.SemanticFeatureReconstruction.forward")
    np.testing.assert_array_equal(engine.score(features, labels), with_tokens)


def test_scores_are_computed_in_chunks_of_labels(engine, pixels, set_budget, allocations):
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


def test_features_do_not_require_gradients(engine, pixels):
    assert not engine.encode_images(pixels).patch_tokens.requires_grad
    assert not engine.encode_labels(VOCABULARY).refined.requires_grad


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_gpu_scores_match_cpu_scores(tiny_bundle, engine, pixels):
    ours = scores(TorchEngine.load(tiny_bundle, "cuda"), pixels)
    np.testing.assert_allclose(ours, scores(engine, pixels), atol=1e-2)
