"""Engines of bundles with a background set, and without one."""

import numpy as np
import pytest
from engine_bundles import NAMES, VOCABULARY, load_openvino

from sigrl.model.bundle_files import BundleError
from sigrl.model.calibration import OFFSET, SLOPE, THRESHOLD, probabilities
from sigrl.model.kept_features import KeptFeatures, join
from sigrl.model.label_calibration import BestF1, FalsePositiveRate
from sigrl.model.onnx_engine import OnnxEngine
from sigrl.model.torch_engine import TorchEngine
from sigrl.model.vocabulary import Vocabulary

CALIBRATED = ("sigrl", "sigrl-no-svfr", "clip", "mkt", "biam", "biam-published", "mkt-on-clip")


@pytest.fixture(params=["torch", "onnx", "openvino"])
def load(request, make_calibrated, make_exported):
    """Name of one of `CALIBRATED` -> an engine of it, on the CPU in float32."""
    if request.param == "torch":
        return lambda name: TorchEngine.load(make_calibrated(name), "cpu", precision="float32")
    if request.param == "openvino":
        return lambda name: load_openvino(make_exported(f"calibrated-{name}"))
    return lambda name: OnnxEngine.load(make_exported(f"calibrated-{name}"), "cpu")


@pytest.fixture
def photographs():
    """Those of the background sets."""
    return np.random.default_rng(5).standard_normal((40, 3, 64, 64), dtype=np.float32)


@pytest.mark.parametrize("name", CALIBRATED)
def test_background_logits_match_scores_of_the_background_images(load, photographs, name):
    engine = load(name)
    labels = engine.encode_labels(VOCABULARY)
    expected = engine.score(engine.encode_images(photographs), labels)
    ours = engine.background_logits(labels)
    assert ours.shape == (40, len(NAMES))
    np.testing.assert_allclose(ours, expected, rtol=0, atol=0.01 * np.abs(expected).max())


@pytest.mark.parametrize("name", CALIBRATED)
def test_kept_features_score_like_the_original_images(load, photographs, name):
    engine = load(name)
    labels = engine.encode_labels(VOCABULARY)
    images = engine.encode_images(photographs[:5])
    expected = engine.score(images, labels)
    kept = engine.keep_images(images)
    kept = KeptFeatures.from_bytes(join([kept, kept]).to_bytes())
    ours = engine.score_kept(kept, labels)
    for half in (ours[:5], ours[5:]):
        np.testing.assert_allclose(half, expected, rtol=0, atol=0.01 * np.abs(expected).max())


@pytest.mark.parametrize("name", CALIBRATED)
def test_examples_change_calibration_of_their_own_labels_only(load, photographs, name):
    engine = load(name)
    before = engine.encode_labels(VOCABULARY)
    images = engine.encode_images(photographs)
    logits = engine.score(images, before)
    shown = np.zeros(logits.shape, np.int8)
    shown[:, 1] = np.where(logits[:, 1] > np.quantile(logits[:, 1], 0.7), 1, -1)
    after = engine.calibrate_by_examples(before, engine.keep_images(images), shown, BestF1())
    assert _f1(engine, logits, after, shown)[1] >= _f1(engine, logits, before, shown)[1]
    others = np.arange(len(NAMES)) != 1
    np.testing.assert_array_equal(after.calibration[others], before.calibration[others])
    assert (after.calibration[1] != before.calibration[1]).all()


def test_false_positive_rate_goal_needs_a_background_set_but_no_examples(load, make):
    engine = load("sigrl")
    labels = engine.encode_labels(VOCABULARY)
    nothing = np.zeros((0, len(NAMES)), np.int8)
    after = engine.calibrate_by_examples(labels, None, nothing, FalsePositiveRate(0.1))
    found = engine.probabilities(engine.background_logits(labels), labels)
    taken = ((1 - found) * (found >= engine.thresholds(after))).sum(axis=0)
    assert (taken <= 0.1 * (1 - found).sum(axis=0) + 1e-3).all()
    np.testing.assert_array_equal(
        engine.thresholds(after), engine.thresholds_for(labels, FalsePositiveRate(0.1))
    )
    without = TorchEngine.load(make("sigrl"), "cpu")
    with pytest.raises(ValueError, match="no background set"):
        without.thresholds_for(without.encode_labels(VOCABULARY), FalsePositiveRate(0.1))


@pytest.mark.parametrize("kind", [TorchEngine, OnnxEngine])
@pytest.mark.parametrize("name", ["sigrl", "sigrl-published"])
def test_examples_calibrate_any_head_without_a_background_set(make, make_exported, photographs, kind, name):
    engine = kind.load(make(name) if kind is TorchEngine else make_exported(name), "cpu")
    before = engine.encode_labels(VOCABULARY)
    images = engine.encode_images(photographs)
    logits = engine.score(images, before)
    shown = np.where(logits > np.quantile(logits, 0.7, axis=0), 1, -1).astype(np.int8)
    after = engine.calibrate_by_examples(before, engine.keep_images(images), shown, BestF1())
    fitted = _f1(engine, logits, after, shown).mean()
    assert fitted > max(0.8, _f1(engine, logits, before, shown).mean())


def _f1(engine, logits, labels, shown):
    """Of each label's decisions, [C]."""
    found = engine.probabilities(logits, labels) >= engine.thresholds(labels)
    return 2 * (found & (shown > 0)).sum(axis=0) / np.maximum(found.sum(axis=0) + (shown > 0).sum(axis=0), 1)


@pytest.mark.parametrize("name", CALIBRATED)
def test_each_label_gets_its_own_probability_and_threshold(load, photographs, name):
    engine = load(name)
    labels = engine.encode_labels(VOCABULARY)
    logits = engine.score(engine.encode_images(photographs[:4]), labels)
    calibration = labels.calibration
    np.testing.assert_array_equal(engine.thresholds(labels), calibration[:, THRESHOLD])
    ours = engine.probabilities(logits, labels)
    np.testing.assert_allclose(ours, probabilities(logits, "context", calibration))
    # "dog" is the trained label.
    np.testing.assert_allclose(calibration[0, : SLOPE + 1], [0, 1], atol=2e-3)
    assert len(np.unique(calibration[:, OFFSET])) > 1
    assert ((engine.thresholds(labels) > 0) & (engine.thresholds(labels) < 1)).all()


def test_all_engines_give_the_same_calibration(make_calibrated, load):
    ours = TorchEngine.load(make_calibrated("sigrl"), "cpu", precision="float32").encode_labels(VOCABULARY)
    theirs = load("sigrl").encode_labels(VOCABULARY)
    np.testing.assert_allclose(ours.calibration, theirs.calibration, atol=1e-4)


def test_calibration_does_not_depend_on_other_labels(load):
    engine = load("sigrl")
    together = engine.encode_labels(VOCABULARY).calibration
    for number, name in enumerate(NAMES):
        alone = engine.encode_labels(Vocabulary.from_names([name])).calibration
        np.testing.assert_allclose(alone[0], together[number], atol=1e-4)


def test_packed_labels_keep_their_calibration(load):
    engine = load("sigrl")
    labels = engine.encode_labels(VOCABULARY)
    arrays = engine.pack_labels(labels)
    np.testing.assert_array_equal(engine.unpack_labels(arrays).calibration, labels.calibration)
    del arrays["calibration"]
    with pytest.raises(ValueError, match="not label features"):
        engine.unpack_labels(arrays)


@pytest.mark.parametrize("kind", [TorchEngine, OnnxEngine])
def test_without_a_background_set_labels_get_default_thresholds(make, make_exported, kind):
    engine = kind.load(make("sigrl") if kind is TorchEngine else make_exported("sigrl"), "cpu")
    labels = engine.encode_labels(VOCABULARY)
    assert labels.calibration is None
    assert engine.background_logits(labels) is None
    np.testing.assert_array_equal(engine.thresholds(labels), np.full(len(NAMES), 0.5, np.float32))
    assert "calibration" not in engine.pack_labels(labels)


def test_damaged_background_set_is_rejected_without_torch(make_exported, tmp_path):
    source = make_exported("calibrated-sigrl")
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in source.rglob("*.*"):
        target = copy / path.relative_to(source)
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(path.read_bytes()[: -1 if path.name == "calibration.safetensors" else None])
    with pytest.raises(BundleError, match="damaged"):
        OnnxEngine.load(copy, "cpu")
