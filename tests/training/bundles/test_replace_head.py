"""`sigrl-train head`: another head for the towers of a bundle."""

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sigrl.model.acceleration import PrecisionChoice
from sigrl.model.bundle import load_bundle
from sigrl.model.bundle_files import has_graphs, read_files
from sigrl.model.engine import Engine
from sigrl.model.onnx_engine import OnnxEngine
from sigrl.model.torch_engine import TorchEngine
from sigrl.model.vocabulary import Vocabulary
from sigrl.training.bundles import replace_head
from sigrl.training.data.common_names import common_names

NAMES = ("dog", "red car")
PIXELS = np.random.default_rng(0).standard_normal((3, 3, 64, 64), dtype=np.float32)


@pytest.fixture(autouse=True)
def _fewer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replace_head, "CONTEXT_NAMES", 8)


def scores(engine: Engine, names: tuple[str, ...] = NAMES) -> np.ndarray:
    return engine.score(engine.encode_images(PIXELS), engine.encode_labels(Vocabulary.from_names(names)))


@pytest.mark.usefixtures("graphs")
def test_sparc_head_standardizes_over_common_names_on_every_engine(
    sigrl_train, towers: Path, tmp_path: Path
) -> None:
    status, _, err = sigrl_train("head", towers, "--kind", "sparc", "-o", tmp_path / "new")
    assert status == 0, err
    engine = TorchEngine.load(tmp_path / "new", "cpu", precision="float32")
    images = engine.image_embeddings(engine.encode_images(PIXELS))
    context = tuple(common_names(8))
    labels = engine.label_embeddings(engine.encode_labels(Vocabulary.from_names((*NAMES, *context))))
    cosines = images @ labels.T
    reference = cosines[:, len(NAMES) :]
    expected = cosines[:, : len(NAMES)] - reference.mean(1, keepdims=True)
    expected = expected / reference.std(1, keepdims=True, ddof=1) + replace_head.SPARC_BIAS
    # The context is stored in half precision.
    np.testing.assert_allclose(scores(engine), expected, atol=0.02)
    np.testing.assert_allclose(scores(engine, NAMES[:1]), scores(engine)[:, :1], atol=1e-5)
    np.testing.assert_allclose(scores(OnnxEngine.load(tmp_path / "new")), scores(engine), atol=1e-3)
    assert engine.manifest.provenance["head"]["of"] == read_files(towers).checkpoint_id


def test_no_graphs_option_writes_a_bundle_without_graphs(sigrl_train, towers: Path, tmp_path: Path) -> None:
    assert sigrl_train("head", towers, "--kind", "clip", "--no-graphs", "-o", tmp_path / "new")[0] == 0
    assert not has_graphs(tmp_path / "new")


@pytest.mark.usefixtures("graphs")
def test_missing_export_packages_give_a_bundle_without_graphs(
    sigrl_train, towers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sigrl.training.bundles.export", None)
    status, out, err = sigrl_train("head", towers, "--kind", "clip", "-o", tmp_path / "new")
    assert status == 0, err
    assert "no graphs" in out
    assert "pip install 'sigrl-tagger[export,onnx]'" in out
    assert not has_graphs(tmp_path / "new")


def test_changing_the_head_and_back_restores_the_scores(sigrl_train, towers: Path, tmp_path: Path) -> None:
    assert sigrl_train("head", towers, "--kind", "clip", "-o", tmp_path / "clip")[0] == 0
    assert sigrl_train("head", tmp_path / "clip", "--kind", "mkt", "-o", tmp_path / "mkt")[0] == 0
    before, after = (
        TorchEngine.load(path, "cpu", precision="float32") for path in (towers, tmp_path / "mkt")
    )
    np.testing.assert_allclose(scores(after), scores(before), rtol=1e-4)


def test_head_without_a_cosine_scale_is_rejected(sigrl_train, towers: Path, tmp_path: Path) -> None:
    assert sigrl_train("head", towers, "--kind", "sparc", "-o", tmp_path / "sparc")[0] == 0
    status, _, err = sigrl_train("head", tmp_path / "sparc", "--kind", "clip", "-o", tmp_path / "clip")
    assert status == 2
    assert "has no scale of cosines" in err


def test_a_piaa_head_learns_from_unlabelled_photographs(sigrl_train, towers: Path, tmp_path: Path) -> None:
    folder = tmp_path / "photographs"
    folder.mkdir()
    for number in range(20):
        pixels = np.random.default_rng(number).integers(0, 256, (3, 3, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((64, 64)).save(folder / f"{number}.png")
    asked = ("head", towers, "--kind", "piaa", "-o", tmp_path / "piaa")
    status, _, err = sigrl_train(*asked)
    assert (status, "name a folder" in err) == (2, True)
    status, _, err = sigrl_train(*asked, "--photographs", folder)
    assert status == 0, err
    engine = TorchEngine.load(tmp_path / "piaa", "cpu", precision="float32")
    labels = engine.encode_labels(Vocabulary.from_names(NAMES))
    images = engine.encode_images(PIXELS)
    found = engine.score(images, labels)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5)
    stored = engine.unpack_labels(engine.pack_labels(labels))
    np.testing.assert_array_equal(engine.score(images, stored), found)
    np.testing.assert_allclose(engine.score_kept(engine.keep_images(images), labels), found, atol=0.02)
    assert engine.explain(images, labels).shape == (3, len(NAMES), *images.grid)
    status, _, err = sigrl_train("export", tmp_path / "piaa", "-o", tmp_path / "exported")
    assert (status, "only PyTorch serves it" in err) == (2, True)


def test_a_tagclip_head_is_made_served_and_evaluated(
    sigrl_train, vit_bundle: Path, coco_root: Path, config_file: Path, tmp_path: Path
) -> None:
    status, _, err = sigrl_train("head", vit_bundle, "--kind", "tagclip", "-o", tmp_path / "tagclip")
    assert status == 0, err
    engine = TorchEngine.load(tmp_path / "tagclip", "cpu", precision="float32")
    head = engine.manifest.head
    assert (head.form, head.context_labels, head.independent_scores) == (
        "published",
        replace_head.BACKGROUND,
        False,
    )
    # The scale of a new clip head is ten.
    assert load_bundle(tmp_path / "tagclip").model.head.scale == pytest.approx(10, rel=1e-6)
    labels = engine.encode_labels(Vocabulary.from_names((*NAMES, "Sky")))
    images = engine.encode_images(PIXELS)
    found = engine.score(images, labels)
    assert found.shape == (3, 3)
    assert ((found > 0) & (found < 1)).all()
    assert labels.evidence.sum(axis=1).tolist() == [0, 0, 1]
    stored = engine.unpack_labels(engine.pack_labels(labels))
    np.testing.assert_array_equal(engine.score(images, stored), found)
    np.testing.assert_allclose(found[1:2], engine.score(engine.encode_images(PIXELS[1:2]), labels), atol=1e-6)
    assert engine.explain(images, labels).shape == (3, 3, *images.grid)
    assert not engine.scores_kept
    with pytest.raises(ValueError, match="only features of it were kept"):
        engine.score_kept(engine.keep_images(images), labels)

    status, out, err = sigrl_train("evaluate", tmp_path / "tagclip", "--config", config_file)
    assert status == 0, err
    assert "24 photographs" in out
    photographs = ("--photographs", coco_root / "val2014")
    for command, told in (
        (("export", tmp_path / "tagclip"), "only PyTorch serves it"),
        (("calibrate", tmp_path / "tagclip", *photographs), "only bundles in the context form"),
        (("head", vit_bundle, "--kind", "tagclip", *photographs), "omit --photographs"),
    ):
        status, _, err = sigrl_train(*command, "-o", tmp_path / "other")
        assert (status, told in err) == (2, True), err


@pytest.mark.parametrize("precision", ["bfloat16", "int8"])
def test_a_tagclip_head_runs_in_low_precision(
    sigrl_train, vit_bundle: Path, tmp_path: Path, precision: PrecisionChoice
) -> None:
    assert sigrl_train("head", vit_bundle, "--kind", "tagclip", "-o", tmp_path / "tagclip")[0] == 0
    engine = TorchEngine.load(tmp_path / "tagclip", "cpu", precision=precision)
    assert np.isfinite(scores(engine)).all()


def test_a_tagclip_head_on_another_tower_is_rejected(sigrl_train, towers: Path, tmp_path: Path) -> None:
    status, _, err = sigrl_train("head", towers, "--kind", "tagclip", "-o", tmp_path / "new")
    assert status == 2
    assert "it needs an image tower of open_clip's, such as ViT-B-32" in err
    assert not (tmp_path / "new").exists()
