"""A word tower with an evidence head as a bundle: in both engines, and what is kept of it."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from engine_bundles import load_openvino

from sigrl.model import bundle_engine
from sigrl.model.bundle import TaggingModel
from sigrl.model.bundle_files import read_files, write_files
from sigrl.model.config import EvidenceConfig, HeadConfig, WordTowerConfig
from sigrl.model.evidence_arrays import shapes
from sigrl.model.features import pool_tokens
from sigrl.model.kept_features import join, keep
from sigrl.model.label_facts import FEATURES
from sigrl.model.onnx_engine import OnnxEngine
from sigrl.model.torch_engine import TorchEngine
from sigrl.model.vocabulary import Label, Vocabulary
from sigrl.training.bundles.export import export
from sigrl.training.tasks.everyday.assemble import assemble

CONFIG = EvidenceConfig(known_words=(("dog", "hound"), ("cat",), ("tree",)), class_texts=9, lexicon=6, rank=4)
SIDE = 128
VOCABULARY = Vocabulary(
    labels=(Label(name="dog"), Label(name="zebra"), Label(name="red car", synonyms=("car", "auto")))
)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory, tiny_description, tokenizer_definition):
    backbone = tiny_description.backbone.model_copy(
        update={
            "vision": {"timm_model_name": "tf_efficientnet_lite0", "image_size": SIDE},
            "words": WordTowerConfig(words=3, classes=8, hidden=16),
            "prompts": ("{label}",),
        }
    )
    preprocessing = tiny_description.preprocessing.model_copy(update={"image_size": SIDE})
    rng = np.random.default_rng(0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = TaggingModel(backbone, HeadConfig(kind="mkt", top_k=2), tokenizer_definition).eval()
    arrays = {
        name: (0.1 * rng.standard_normal(shape)).astype(np.float32)
        for name, shape in shapes(CONFIG, backbone.embed_dim).items()
    }
    arrays["slope"] *= 0.1  # in the exponent: large ones enlarge the last bits
    arrays["gains"] = np.array([0.7, 0.4, 0.2, 0.3, 0.4, 0.8, 0.5, -0.5, 0.9, 0.3, 0.7, 0.2], np.float32)
    arrays["class_rows"] = np.array([0, 1, 2, 3, 4, 5, 6, 7, 7], np.float32)
    arrays["feature_deviation"] = np.ones(len(FEATURES), np.float32)
    with torch.inference_mode():
        images = torch.from_numpy(rng.standard_normal((40, 3, SIDE, SIDE), dtype=np.float32))
        found = model.backbone.encode_images(images)
    tokens = pool_tokens(found.patch_tokens.numpy(), found.grid)
    background = keep(found.image_embeddings.numpy(), tokens, found.word_logits.numpy())
    files = assemble(
        model, backbone, tokenizer_definition, CONFIG, arrays, background, preprocessing, 0.5, {}
    )
    directory = tmp_path_factory.mktemp("bundles") / "evidence"
    write_files(directory, files)
    return directory


@pytest.fixture(scope="module")
def onnx_bundle(bundle, tmp_path_factory):
    directory = tmp_path_factory.mktemp("bundles") / "evidence-onnx"
    write_files(directory, export(bundle, lambda *_: None))
    return directory


@pytest.fixture(scope="module")
def pixel_values():
    return np.random.default_rng(4).standard_normal((3, 3, SIDE, SIDE), dtype=np.float32)


@pytest.mark.parametrize("load", [OnnxEngine.load, load_openvino])
def test_all_engines_give_the_same_results(onnx_bundle, pixel_values, load):
    engines = TorchEngine.load(onnx_bundle, "cpu", precision="float32"), load(onnx_bundle)
    scores, kept, maps = [], [], []
    for engine in engines:
        labels, images = engine.encode_labels(VOCABULARY), engine.encode_images(pixel_values)
        scores.append(engine.score(images, labels))
        kept.append(engine.score_kept(engine.keep_images(images), labels))
        assert engine.thresholds(labels).tolist() == [0.5, 0.5, 0.5]
        assert engine.familiarity(labels).shape == (3,)
        maps.append(engine.explain(images, labels))
        assert maps[-1].shape == (3, 3, 2, 2)
        probabilities = engine.probabilities(scores[-1], labels)
        np.testing.assert_allclose(probabilities, 1 / (1 + np.exp(-scores[-1])), atol=1e-5)
    np.testing.assert_allclose(*scores, atol=1e-3)
    np.testing.assert_allclose(*maps, atol=1e-3)
    # Of the known word; to a random tower all photographs are alike, new words are measured in deviations.
    np.testing.assert_allclose(kept[0][:, 0], scores[0][:, 0], atol=0.1)


def test_encode_labels_reports_progress_between_final_slices(bundle, monkeypatch):
    engine = TorchEngine.load(bundle, "cpu", precision="float32")
    whole = engine.encode_labels(VOCABULARY)
    pauses = []
    engine.encode_labels(VOCABULARY, pauses.append)
    monkeypatch.setattr(bundle_engine, "_SLICE", 1)
    sliced = engine.encode_labels(VOCABULARY, pauses.append)
    assert len(pauses) >= 4 + len(VOCABULARY.labels)
    np.testing.assert_allclose(sliced.evidence, whole.evidence, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(sliced.background, whole.background, rtol=1e-5, atol=1e-5)


def test_packed_labels_give_the_same_scores(bundle, pixel_values):
    engine = TorchEngine.load(bundle, "cpu", precision="float32")
    labels, images = engine.encode_labels(VOCABULARY), engine.encode_images(pixel_values)
    again = engine.unpack_labels(engine.pack_labels(labels))
    np.testing.assert_array_equal(engine.score(images, again), engine.score(images, labels))


def test_joined_kept_features_give_the_same_scores(bundle, pixel_values):
    engine = TorchEngine.load(bundle, "cpu", precision="float32")
    labels, kept = engine.encode_labels(VOCABULARY), engine.keep_images(engine.encode_images(pixel_values))
    halves = join([kept.take(slice(0, 1)), kept.take(slice(1, 3))])
    np.testing.assert_array_equal(engine.score_kept(halves, labels), engine.score_kept(kept, labels))


def test_bfloat16_keeps_word_logits_in_float32(bundle, pixel_values):
    exact = TorchEngine.load(bundle, "cpu", precision="float32")
    fast = TorchEngine.load(bundle, "cpu", precision="bfloat16")
    expected, found = exact.encode_images(pixel_values), fast.encode_images(pixel_values)
    assert found.word_logits.dtype == torch.float32
    largest = expected.word_logits.abs().max()
    torch.testing.assert_close(found.word_logits / largest, expected.word_logits / largest, atol=0.05, rtol=0)


def test_bundle_without_background_set_is_rejected(bundle):
    manifest = read_files(bundle).manifest
    described = manifest.model_dump() | {"calibration": None}
    with pytest.raises(ValueError, match="background set"):
        type(manifest).model_validate(described)


def test_uniform_image_scores_like_each_of_its_regions(bundle, pixel_values):
    """The map is in the measure of the score, and takes its sign: a region is read as a photograph is."""
    engine = TorchEngine.load(bundle, "cpu", precision="float32")
    labels, images = engine.encode_labels(VOCABULARY), engine.encode_images(pixel_values)
    regions = images.region_features[:, :1].expand(-1, images.region_features.shape[1], -1)
    embeddings, tokens, word_logits = engine._model.backbone.visual.read_regions(regions)
    uniform = replace(
        images,
        image_embeddings=embeddings[:, 0],
        patch_tokens=tokens[:, :1].expand(-1, images.patch_tokens.shape[1], -1),
        word_logits=word_logits[:, 0],
        region_features=regions,
    )
    scores, maps = engine.score(uniform, labels), engine.explain(uniform, labels)
    assert scores.min() < 0 < scores.max()
    np.testing.assert_allclose(maps, np.broadcast_to(scores[:, :, None, None], maps.shape), atol=1e-3)
