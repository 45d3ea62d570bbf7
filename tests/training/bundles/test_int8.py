"""`sigrl-train export --int8`: what it writes, how engines run it, and what it refuses."""

import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto
from PIL import Image

from sigrl.model.bundle import TaggingModel, save_bundle
from sigrl.model.bundle_files import read_files
from sigrl.model.config import BackboneConfig, HeadConfig, Preprocessing
from sigrl.model.manifest import WEIGHTS, Description
from sigrl.model.onnx_engine import OnnxEngine
from sigrl.model.openvino_engine import OpenVinoEngine
from sigrl.model.torch_engine import TorchEngine
from sigrl.model.vocabulary import Vocabulary

pytest.importorskip("nncf")
from sigrl.training.bundles import int8

VOCABULARY = Vocabulary.from_names(["dog", "a word never seen", "red cat"])


@pytest.fixture(scope="module")
def vit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with a small ViT of random weights and CLIP's head."""
    directory = tmp_path_factory.mktemp("vit") / "bundle"
    vision = {"image_size": 64, "patch_size": 16, "width": 64, "head_width": 16, "layers": 2}
    backbone = BackboneConfig(embed_dim=32, vision=vision, text={"width": 8, "heads": 1, "layers": 1})
    description = Description(
        name="small ViT",
        backbone=backbone,
        head=HeadConfig(kind="clip"),
        preprocessing=Preprocessing(image_size=64),
        default_threshold=0.5,
        provenance={},
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = TaggingModel(description.backbone, description.head)
    save_bundle(directory, description, model.state_dict())
    return directory


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 24 pictures of squares."""
    folder = tmp_path_factory.mktemp("photographs")
    random = np.random.default_rng(0)
    for number in range(24):
        blocks = random.integers(0, 256, (4, 4, 3), dtype=np.uint8)
        Image.fromarray(blocks.repeat(20, 0).repeat(20, 1)).save(folder / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def exported(vit: Path, photographs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle of `vit`, exported by the command."""
    from sigrl.training import cli

    directory = tmp_path_factory.mktemp("exported") / "bundle"
    command = ["sigrl-train", "export", vit, "-o", directory, "--int8", "--photographs", photographs]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [str(part) for part in command])
        with pytest.raises(SystemExit) as caught:
            cli.main()
    assert caught.value.code == 0
    return directory


def test_tower_holds_int8_weights_and_the_manifest_says_so(exported: Path, vit: Path) -> None:
    files = read_files(exported)
    assert files.contents[WEIGHTS] == read_files(vit).contents[WEIGHTS]
    tower = onnx.load_from_string(files.contents["image_tower.onnx"]).graph
    matrices = [tensor for tensor in tower.initializer if len(tensor.dims) == 2 and min(tensor.dims) >= 32]
    in_int8 = [tensor for tensor in matrices if tensor.data_type == TensorProto.INT8]
    assert len(in_int8) >= 2 * 4
    made = files.manifest.provenance["export"]["image_tower"]
    assert made["precision"] == "int8"
    assert made["photographs"] == 24
    assert all(cosine > 0.99 for cosine in made["cosines"].values())
    assert b"QuantizeLinear" not in files.contents["text_tower.onnx"]


@pytest.mark.parametrize("load", [OpenVinoEngine.load, OnnxEngine.load])
def test_engines_run_the_tower_in_int8_close_to_pytorch(load, exported: Path, vit: Path) -> None:
    pixels = np.random.default_rng(1).standard_normal((5, 3, 64, 64), dtype=np.float32)
    quantised, exact = load(exported), TorchEngine.load(vit, "cpu", precision="float32")
    assert quantised.has_int8_tower
    ours, expected = (engine.image_embeddings(engine.encode_images(pixels)) for engine in (quantised, exact))
    assert ((ours * expected).sum(axis=1) > 0.98).all()
    assert np.abs(ours - expected).max() > 1e-5
    scores = quantised.score(quantised.encode_images(pixels), quantised.encode_labels(VOCABULARY))
    assert np.isfinite(scores).all()


def test_openvino_keeps_the_compiled_int8_tower(exported: Path, tmp_path: Path) -> None:
    pixels = np.random.default_rng(2).standard_normal((3, 3, 64, 64), dtype=np.float32)
    first, second = (OpenVinoEngine.load(exported, cache=tmp_path, threads=2) for _ in range(2))
    assert first.precision == second.precision == "int8"
    np.testing.assert_array_equal(
        first.encode_images(pixels).image_embeddings, second.encode_images(pixels).image_embeddings
    )


def test_pytorch_keeps_the_float_weights(exported: Path, vit: Path) -> None:
    pixels = np.random.default_rng(3).standard_normal((2, 3, 64, 64), dtype=np.float32)
    ours, expected = (
        TorchEngine.load(path, "cpu", precision="float32").encode_images(pixels).image_embeddings
        for path in (exported, vit)
    )
    assert torch.equal(ours, expected)


def test_export_of_an_int8_bundle_is_float32_again(sigrl_train, exported: Path, tmp_path: Path) -> None:
    assert sigrl_train("export", exported, "-o", tmp_path / "float")[0] == 0
    files = read_files(tmp_path / "float")
    assert b"QuantizeLinear" not in files.contents["image_tower.onnx"]
    assert "image_tower" not in files.manifest.provenance["export"]


def test_tower_that_changes_too_much_is_refused(
    sigrl_train, vit: Path, photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(int8, "LEAST_COSINE", 0.999999)
    command = ("export", vit, "-o", tmp_path / "new", "--int8", "--photographs", photographs)
    status, _, err = sigrl_train(*command)
    assert status == 2
    assert "int8 does not suit this image tower" in err
    assert list(tmp_path.iterdir()) == []


def test_incomplete_usage_is_refused_before_exporting(
    sigrl_train, vit: Path, photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = tmp_path / "new"
    assert "go together" in sigrl_train("export", vit, "-o", new, "--int8")[2]
    assert "go together" in sigrl_train("export", vit, "-o", new, "--photographs", photographs)[2]
    assert "0 photographs" in sigrl_train("export", vit, "-o", new, "--int8", "--photographs", tmp_path)[2]
    monkeypatch.setitem(sys.modules, "sigrl.training.bundles.int8", None)
    err = sigrl_train("export", vit, "-o", new, "--int8", "--photographs", photographs)[2]
    assert "pip install 'sigrl-tagger[export,onnx,int8]'" in err
