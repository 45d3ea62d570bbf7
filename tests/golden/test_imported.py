"""Published checkpoints brought in by `sigrl-train import`: their bundles give the reference's scores."""

import pytest
import torch
from open_clip import create_model, factory
from safetensors.torch import save_file

from sigrl.model.bundle import Bundle, load_bundle
from sigrl.model.reference_names import HEAD_NAMES, LEFT_OUT
from sigrl.training.backbones.open_clip_source import find_source
from sigrl.training.bundles.import_weights import PublishedKind, import_published, read_published

ROUNDING = 2e-3
"""Allowed, as a part of the largest value: a bundle keeps matrices in float16."""


@pytest.fixture
def source(golden, tmp_path, monkeypatch):
    """The CLIP that the reference's small tower stands for, with a text tower smaller still."""
    shape = golden.manifest["files"]["weights.safetensors"]["vision_tower"]
    vision = {
        "image_size": shape["resolutions"]["A"],
        "patch_size": shape["patch"],
        "width": shape["width"],
        "layers": shape["layers"],
        "head_width": shape["width"] // shape["heads"],
    }
    text = {"context_length": 77, "vocab_size": 49408, "width": 8, "heads": 1, "layers": 1}
    config = {
        "embed_dim": shape["embed_dim"],
        "quick_gelu": True,
        "vision_cfg": vision,
        "text_cfg": text,
    }
    monkeypatch.setitem(factory._MODEL_CONFIGS, "golden", config)
    file = tmp_path / "clip.safetensors"
    save_file(create_model("golden").state_dict(), file)
    return find_source(f"golden/{file}")


@pytest.fixture
def imported(golden, source, tmp_path):
    """(kind, weights variant, model) -> the bundle of the reference's state dict, saved as a .pth."""

    def build(kind: PublishedKind, variant: str, model: str) -> Bundle:
        weights = golden.weights(variant, model)
        if kind is PublishedKind.mkt:
            weights = {name: one for name, one in weights.items() if name not in HEAD_NAMES | LEFT_OUT}
        file = tmp_path / "published.pth"
        torch.save(weights, file)
        published = read_published(kind, file)
        import_published(published, source, source.file, tmp_path / "bundle", lambda *_: None)
        return load_bundle(tmp_path / "bundle")

    return build


@torch.no_grad()
def compare(golden, bundle: Bundle, file: str, name: str) -> None:
    case = golden.case(file, name)
    assert bundle.manifest.preprocessing.image_size == case["resolution"]
    features = bundle.model.backbone.encode_images(golden.recipe(case["images"]))
    head = bundle.model.head
    score = head.score(features, head.label_features(golden.array(file, f"{name}/label_embed")))
    golden.compare(file, f"{name}/topk16.normTrue/score", score, ROUNDING)


@pytest.mark.parametrize("name", ["A.P16.plain", "A.P16.sharp", "B.P49.sharp"])
def test_imported_sigrl_checkpoint_matches_the_reference(golden, imported, name):
    case = golden.case("03_clipvit.npz", name)
    bundle = imported(PublishedKind.sigrl, case["weights"], case["model"])
    compare(golden, bundle, "03_clipvit.npz", name)


@pytest.mark.parametrize("name", ["A.P16", "B.P49"])
def test_imported_mkt_checkpoint_matches_the_reference(golden, imported, name):
    bundle = imported(PublishedKind.mkt, "plain", golden.case("04_mkt_head.npz", name)["model"])
    compare(golden, bundle, "04_mkt_head.npz", name)
