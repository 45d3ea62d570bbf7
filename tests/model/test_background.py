"""The background set: what is kept of photographs, and a bundle that has one."""

import json

import numpy as np
import pytest
from safetensors.numpy import load, save

from sigrl.model.background import save_background
from sigrl.model.bundle import load_bundle
from sigrl.model.bundle_files import BundleError, make_files, read_files, write_files
from sigrl.model.manifest import CALIBRATION


@pytest.fixture
def rewrite(make_calibrated, tmp_path):
    """Writes a calibrated bundle with another content of its background set, or another manifest."""
    files = read_files(make_calibrated("sigrl"))

    def rewrite(change=lambda _: None, **fields):
        tensors = load(files.contents[CALIBRATION])
        change(tensors)
        description = files.manifest.model_copy(update=fields)
        made = make_files(description, {**files.contents, CALIBRATION: save(tensors)})
        write_files(tmp_path / "new", made)
        return tmp_path / "new"

    return rewrite


def test_background_set_is_loaded_with_its_bundle(make_calibrated, make):
    bundle = load_bundle(make_calibrated("sigrl"))
    assert bundle.calibrator.background.photographs.image_embeddings.shape == (40, 32)
    assert bundle.calibrator.background.photographs.patch_tokens.dtype == np.int8
    assert bundle.calibrator.config == bundle.manifest.calibration
    assert bundle.calibrator.default_threshold == bundle.manifest.default_threshold
    assert bundle.checkpoint_id != load_bundle(make("sigrl")).checkpoint_id
    assert save_background(bundle.calibrator.background) == (
        (make_calibrated("sigrl") / CALIBRATION).read_bytes()
    )


def test_bundle_without_background_set_has_no_calibration(make):
    assert load_bundle(make("sigrl")).calibrator is None
    assert "calibration" not in json.loads((make("sigrl") / "manifest.json").read_text())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tensors: tensors.pop("trained_labels"), "it contains"),
        (lambda tensors: tensors.update(other=np.zeros(1)), "it contains"),
        (lambda tensors: tensors.update(image_embeddings=np.zeros((40, 32), np.float32)), "float32"),
        (lambda tensors: tensors.update(image_embeddings=np.zeros((39, 32), np.float16)), r"\[39, 32\]"),
        (lambda tensors: tensors.update(patch_tokens=np.zeros((40, 32), np.int8)), "patch_tokens"),
        (lambda tensors: tensors.update({"patch_tokens.scale": np.zeros((40, 7), np.float16)}), "scale"),
        (lambda tensors: tensors.update(trained_labels=np.zeros((4, 7), np.float16)), "trained_labels"),
        (lambda tensors: tensors.update(trained_labels=np.zeros((), np.float16)), "trained_labels"),
        (lambda tensors: tensors.update(trained_labels=np.full((4, 32), np.inf, np.float16)), "finite"),
    ],
)
def test_invalid_background_set_is_rejected(rewrite, change, message):
    with pytest.raises(BundleError, match=rf"calibration.safetensors: .*{message}.*make the bundle again"):
        load_bundle(rewrite(change))


def test_manifest_that_does_not_match_the_background_set_is_rejected(rewrite, make_calibrated):
    config = load_bundle(make_calibrated("sigrl")).manifest.calibration
    with pytest.raises(BundleError, match="image_embeddings"):
        load_bundle(rewrite(calibration=config.model_copy(update={"photographs": 41})))
    with pytest.raises(ValueError, match="`files` names"):
        rewrite(calibration=None)


def test_head_with_label_dependent_scores_cannot_be_calibrated(make, make_calibrated):
    config = load_bundle(make_calibrated("sigrl")).manifest.calibration
    files = read_files(make("mkt-published"))
    description = files.manifest.model_copy(update={"calibration": config})
    with pytest.raises(ValueError, match="cannot be calibrated"):
        make_files(description, {**files.contents, CALIBRATION: b""})
