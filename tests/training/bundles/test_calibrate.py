"""`sigrl-train calibrate`: a new bundle with a background set, and cases that it refuses."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from sigrl.model.bundle import load_bundle
from sigrl.model.bundle_files import read_files, write_files
from sigrl.model.config import HeadConfig
from sigrl.model.torch_engine import TorchEngine
from sigrl.model.vocabulary import Vocabulary
from sigrl.training.bundles import calibrate as task
from sigrl.training.bundles.calibrate import calibrate, find_photographs
from sigrl.training.data.coco import read_coco
from sigrl.training.data.dataset import DataError
from sigrl.training.measures.evaluation import encode_photographs

WORDS = Vocabulary.from_names(("dog", "a word never seen"))


@pytest.fixture(autouse=True)
def _fewer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task, "BACKGROUND_PHOTOGRAPHS", 20)
    monkeypatch.setattr(task, "COMMON_NAMES", 8)


def write(made: task.Calibrated, directory: Path) -> TorchEngine:
    write_files(directory, made.files)
    return TorchEngine.load(directory, "cpu", precision="float32")


def test_background_set_is_drawn_from_the_folder(tiny_bundle: Path, coco_root: Path, tmp_path: Path) -> None:
    photographs = find_photographs(coco_root / "train2014", None)
    assert len(photographs) == 24
    made = calibrate(tiny_bundle, photographs, "train2014")
    engine = write(made, tmp_path / "new")
    labels = engine.encode_labels(WORDS)
    batches = encode_photographs(engine, photographs.image_paths)
    scores = np.concatenate([engine.score(batch, labels) for batch in batches])
    ours = engine.background_logits(labels)
    assert ours is not None
    assert ours.shape == (20, 2)
    nearest = np.abs(ours[:, None] - scores[None]).max(axis=2).argmin(axis=1)
    assert len(set(nearest)) == 20
    np.testing.assert_allclose(ours, scores[nearest], atol=0.1)


def test_calibrate_keeps_the_rest_of_the_bundle_unchanged(
    tiny_bundle: Path, coco_root: Path, tmp_path: Path
) -> None:
    made = calibrate(tiny_bundle, find_photographs(coco_root / "train2014", None), "train2014")
    before, after = load_bundle(tiny_bundle), made.files.manifest
    changed = {"calibration", "provenance", "files"}
    assert after.model_dump(exclude=changed) == before.manifest.model_dump(exclude=changed)
    assert after.provenance.keys() - before.manifest.provenance.keys() == {"calibration"}
    assert "20 photographs of train2014" in after.provenance["calibration"]["background"]
    assert made.files.checkpoint_id != before.checkpoint_id
    # The labels of the head's context were trained, so their logits stay.
    assert made.trained_labels == before.manifest.head.context_labels
    labels = write(made, tmp_path / "new").encode_labels(WORDS)
    assert labels.calibration is not None
    np.testing.assert_allclose(labels.calibration[0, :2], [0, 1], atol=0.01)
    # Calibrating again on other photographs replaces the old set.
    again = calibrate(tmp_path / "new", find_photographs(coco_root / "val2014", None), "val2014")
    assert "val2014" in again.files.manifest.provenance["calibration"]["background"]
    assert again.files.manifest.files.keys() == after.files.keys()


def test_labelled_images_fit_the_new_word_calibration(tiny_bundle: Path, coco_root: Path) -> None:
    folder = coco_root / "train2014"
    blind = calibrate(tiny_bundle, find_photographs(folder, None), "train2014")
    annotation = coco_root / "annotations" / "instances_train2014.json"
    told = calibrate(tiny_bundle, find_photographs(folder, annotation), "train2014")
    assert blind.left_out is None
    assert blind.new_words.offset == -5.3
    assert told.left_out is not None
    # Half of the photographs show each of these labels.
    assert told.new_words.offset > blind.new_words.offset + 2
    calibration = told.files.manifest.calibration
    assert calibration is not None
    assert (calibration.offset, calibration.slope) == told.new_words
    assert told.files.manifest.provenance["calibration"]["labels"] == "8 labels on 24 photographs"


def test_head_without_context_keeps_logits_only_if_calibrated(
    towers: Path, coco_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    annotation = coco_root / "annotations" / "instances_train2014.json"
    photographs = find_photographs(coco_root / "train2014", annotation)
    for left_out, trained, threshold in (((3.0, 2.0), 0, 0.3), ((2.0, 3.0), 8, 0.5)):
        monkeypatch.setattr(task, "leave_labels_out", lambda *_, found=left_out: task.LeftOut(*found))
        made = calibrate(towers, photographs, "train2014")
        assert len(made.trained_labels) == trained
        assert made.files.manifest.default_threshold == threshold
    blind = calibrate(towers, find_photographs(coco_root / "train2014", None), "train2014")
    assert blind.trained_labels == ()


def test_calibrate_accepts_a_csv_of_own_labels(coco_root: Path, tmp_path: Path) -> None:
    names = sorted(path.name for path in (coco_root / "train2014").iterdir())
    lines = ["image,positive,negative", *(f"{name},thing {number % 3}," for number, name in enumerate(names))]
    (tmp_path / "labels.csv").write_text("\n".join(lines))
    found = find_photographs(coco_root / "train2014", tmp_path / "labels.csv")
    assert found.label_names == ("thing 0", "thing 1", "thing 2")
    assert len(found) == 24


def test_calibrate_keeps_exported_graphs(make_exported_copy: Path, coco_root: Path) -> None:
    made = calibrate(make_exported_copy, find_photographs(coco_root / "train2014", None), "train2014")
    assert "match.onnx" in made.files.manifest.files
    assert "calibration.safetensors" in made.files.manifest.files


@pytest.fixture
def make_exported_copy(tiny_bundle: Path, tmp_path: Path) -> Path:
    """A bundle whose manifest names graphs; their content is not read."""
    copy = Path(shutil.copytree(tiny_bundle, tmp_path / "copy"))
    manifest = json.loads((copy / "manifest.json").read_text())
    for name in load_bundle(tiny_bundle).manifest.onnx_file_names:
        (copy / name).write_bytes(b"")
        manifest["files"][name] = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    (copy / "manifest.json").write_text(json.dumps(manifest))
    assert read_files(copy).manifest.head == HeadConfig.model_validate(manifest["head"])
    return copy


def test_too_few_images_are_rejected(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has 0 photographs: name a folder with at least 20"):
        find_photographs(tmp_path, None)


def test_head_in_published_form_is_rejected(make_published: Path, coco_root: Path) -> None:
    with pytest.raises(DataError, match="depend on the other labels"):
        calibrate(make_published, find_photographs(coco_root / "train2014", None), "train2014")


@pytest.fixture
def make_published(towers: Path, tmp_path: Path) -> Path:
    copy = Path(shutil.copytree(towers, tmp_path / "published"))
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["head"] |= {"form": "published", "kind": "sigrl"}
    (copy / "manifest.json").write_text(json.dumps(manifest))
    return copy


def test_calibrate_command_writes_a_bundle_and_reports_results(
    sigrl_train, tiny_bundle: Path, coco_root: Path, tmp_path: Path
) -> None:
    labels = ("--labels", coco_root / "annotations" / "instances_train2014.json")
    arguments = ("calibrate", tiny_bundle, "--photographs", coco_root / "train2014", *labels)
    status, out, _ = sigrl_train(*arguments, "-o", tmp_path / "new")
    assert status == 0
    said = " ".join(out.split())
    assert "uncalibrated: 6 labels" in said
    assert "labels left out in turn" in said
    assert load_bundle(tmp_path / "new").calibrator is not None
    status, _, err = sigrl_train(*arguments, "-o", tmp_path / "new")
    assert status == 2
    assert "already exists" in err
    assert read_coco(coco_root, "train2014").label_names[0] == "person"
