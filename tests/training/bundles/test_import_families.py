"""`sigrl-train import` of every family of open_clip's models: the bundle computes what open_clip computes."""

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import torch
from engine_bundles import share_exports
from open_clip import get_model_config, get_tokenizer
from tiny_clips import FAMILIES, ODD_TEXTS, SMALLEST, WIDTH, TinyClip, make_smallest, tiny_clips
from torch.nn import functional

from sigrl.model.bundle import load_bundle
from sigrl.model.bundle_files import write_files
from sigrl.model.config import HeadConfig
from sigrl.model.engine import Engine
from sigrl.model.heads import SigRLHead, create_head
from sigrl.model.onnx_engine import OnnxEngine
from sigrl.model.openvino_engine import OpenVinoEngine
from sigrl.model.torch_engine import TorchEngine
from sigrl.model.vocabulary import Label, Vocabulary
from sigrl.service.hub.catalogue import catalogue
from sigrl.training.backbones.open_clip_source import fetch_tokenizer, find_source
from sigrl.training.backbones.projection import project, projection_parameters, stacked, without_projection
from sigrl.training.bundles.export import export
from sigrl.training.bundles.import_weights import ZeroShotHead, import_open_clip
from sigrl.training.tasks.nuswide.task import OpenVocabularyModel

VOCABULARY = Vocabulary(labels=(Label(name="dog"), Label(name="red_car", synonyms=("車", "car " * 49 + "x"))))


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], TinyClip]]:
    yield from tiny_clips(tmp_path_factory.mktemp("clips"))


@pytest.fixture(scope="module")
def imported(
    clips: Callable[[str], TinyClip], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Path]:
    """Name of a family -> the directory of its bundle, with the `mkt` head. Do not change it."""
    folder = tmp_path_factory.mktemp("imported")

    @cache
    def imported(name: str) -> Path:
        clip = clips(name)
        source = find_source(f"{clip.name}/{clip.file}")
        tokenizer = fetch_tokenizer(source)
        import_open_clip(source, clip.file, tokenizer, ZeroShotHead.mkt, folder / name, lambda *_: None)
        return folder / name

    return imported


@pytest.fixture
def pixels() -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).standard_normal((3, 3, 64, 64), dtype=np.float32))


@pytest.mark.parametrize("name", FAMILIES)
@torch.no_grad()
def test_image_embeddings_match_open_clip(clips, imported, pixels: torch.Tensor, name: str) -> None:
    expected = clips(name).model.encode_image(pixels, normalize=False)
    found = load_bundle(imported(name)).model.backbone.encode_images(pixels).image_embeddings
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", FAMILIES)
@torch.no_grad()
def test_text_embeddings_of_odd_texts_match_open_clip(clips, imported, name: str) -> None:
    clip, backbone = clips(name), load_bundle(imported(name)).model.backbone
    expected = clip.model.encode_text(get_tokenizer(clip.name)(list(ODD_TEXTS)), normalize=False)
    found = backbone.encode_texts(torch.from_numpy(backbone.tokenize(ODD_TEXTS)))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("architecture", SMALLEST)
@torch.no_grad()
def test_smallest_architectures_of_timm_match_open_clip(
    monkeypatch: pytest.MonkeyPatch, architecture: str
) -> None:
    # These files are large, and pytest would keep those of its last runs.
    with TemporaryDirectory() as folder:
        clip = make_smallest(architecture, Path(folder), monkeypatch)
        source, bundle = find_source(f"{clip.name}/{clip.file}"), Path(folder, "bundle")
        import_open_clip(source, clip.file, None, ZeroShotHead.clip, bundle, lambda *_: None)
        backbone = load_bundle(bundle).model.backbone
    size = source.preprocessing.image_size
    pixels = torch.from_numpy(np.random.default_rng(0).standard_normal((2, 3, size, size), np.float32))
    expected = clip.model.encode_image(pixels, normalize=False)
    found = backbone.encode_images(pixels)
    torch.testing.assert_close(found.image_embeddings, expected, rtol=0, atol=1e-5)
    assert found.patch_tokens.shape == (2, found.grid[0] * found.grid[1], expected.shape[1])
    expected = clip.model.encode_text(get_tokenizer(clip.name)(list(ODD_TEXTS)), normalize=False)
    texts = backbone.encode_texts(torch.from_numpy(backbone.tokenize(ODD_TEXTS)))
    torch.testing.assert_close(texts, expected, rtol=0, atol=1e-5)


COVERED_BY = {
    "MobileCLIP2-S0": "MobileCLIP2-S0",
    "MobileCLIP2-B": "MobileCLIP2-B",
    "PE-Core-T-16-384": "PE-Core-T-16-384",
    "PE-Core-S-16-384": "PE-Core-T-16-384",
    "PE-Core-B-16": "PE-Core-T-16-384",
    "ViT-B-16": "clip",
    "ViT-B-16-quickgelu": "clip-quickgelu",
    "ViT-B-32-SigLIP2-256": "siglip2",
    "ViT-B-16-SigLIP2-256": "siglip2",
    "ViT-SO400M-16-SigLIP2-384": "siglip2",
    "ViT-H-14-worldwide-quickgelu": "worldwide",
}
"""Each architecture in the list of `sigrl checkpoint get`, and the model here by which it is tested: itself,
or a smaller one of the same family."""
SIZES = {
    *("embed_dim", "image_size", "patch_size", "width", "head_width", "layers", "heads", "mlp_ratio"),
    *("context_length", "vocab_size"),
}
NAMES = {"timm_model_name", "hf_tokenizer_name"}
NO_DIFFERENCE = {"timm_model_pretrained", "custom_text"}
"""What changes nothing in what an architecture computes."""


def kind(architecture: str) -> dict[str, Any]:
    """An architecture's configuration without sizes, names and what changes nothing."""
    config = get_model_config(architecture)
    parts = {"": config, "vision": config.pop("vision_cfg"), "text": config.pop("text_cfg")}
    return {
        f"{part} {name}": value
        for part, options in parts.items()
        for name, value in options.items()
        if name not in SIZES | NAMES | NO_DIFFERENCE
    }


def test_each_listed_model_has_a_parity_test(clips) -> None:
    assert COVERED_BY.keys() == {model.architecture for model in catalogue()}
    for listed, tested in COVERED_BY.items():
        own = tested if tested in SMALLEST else clips(tested).name
        assert kind(listed) == kind(own), listed


@pytest.mark.parametrize("name", [name for name, family in FAMILIES.items() if family.tokenizer])
def test_token_ids_match_open_clip(clips, imported, name: str) -> None:
    theirs = get_tokenizer(clips(name).name)(list(ODD_TEXTS)).numpy()
    ours = load_bundle(imported(name)).model.backbone.tokenize(ODD_TEXTS)
    np.testing.assert_array_equal(ours, theirs[:, : ours.shape[1]])


def answers(engine: Engine, pixels: np.ndarray) -> tuple[np.ndarray, ...]:
    """Label embeddings, scores, and local scores of each patch."""
    images, labels = engine.encode_images(pixels), engine.encode_labels(VOCABULARY)
    return (np.asarray(labels.label_embeddings), engine.score(images, labels), engine.explain(images, labels))


@pytest.fixture(scope="module")
def _shared_exports() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        share_exports(patch)
        yield


@pytest.mark.usefixtures("_shared_exports")
@pytest.mark.parametrize("name", FAMILIES)
def test_exported_graphs_match_torch(imported, tmp_path: Path, pixels, name: str) -> None:
    write_files(tmp_path / "exported", export(imported(name), lambda *_: None))
    engines = (
        TorchEngine.load(imported(name), "cpu", precision="float32"),
        OnnxEngine.load(tmp_path / "exported", "cpu"),
        OpenVinoEngine.load(tmp_path / "exported", precision="float32", threads=1),
    )
    found = [answers(engine, pixels.numpy()) for engine in engines]
    for values in found[1:]:
        for ours, expected in zip(values, found[0], strict=True):
            np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize(
    "head", [HeadConfig(kind="mkt"), HeadConfig(kind="sigrl", context_labels=("a", "b"))]
)
@pytest.mark.parametrize("name", FAMILIES)
def test_training_a_head_on_an_imported_model_lowers_the_loss(
    imported, pixels: torch.Tensor, name: str, head: HeadConfig
) -> None:
    """Gradients of `fit`'s model reach the image tower through global and through local scores, and steps
    lower the loss."""
    backbone = load_bundle(imported(name)).model.backbone
    labels = backbone.encode_labels(Vocabulary.from_names(["dog", "car", "cat"]).labels)
    model = OpenVocabularyModel(backbone, create_head(head, WIDTH), labels)
    if isinstance(model.head, SigRLHead):
        model.head.set_context(labels[:2])
    backbone.visual.requires_grad_(True)
    trained = [one for one in model.parameters() if one.requires_grad]
    optimizer = torch.optim.SGD(trained, 1e-3)
    wanted = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    losses = []
    for _ in range(3):
        loss = functional.binary_cross_entropy_with_logits(model(pixels)[0], wanted)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[2] < losses[0]
    assert all(one.grad is not None and one.grad.isfinite().all() for one in model.head.parameters())
    assert sum(one.grad is not None and one.grad.any().item() for one in backbone.visual.parameters()) > 10


@pytest.mark.parametrize("name", FAMILIES)
@torch.no_grad()
def test_frozen_tower_plus_projection_equals_the_whole_tower(
    imported, pixels: torch.Tensor, name: str
) -> None:
    backbone = load_bundle(imported(name)).model.backbone
    expected = backbone.encode_images(pixels)
    with without_projection(backbone):
        features = stacked(backbone.encode_images(pixels))
    found = project(backbone, features, expected.grid)
    torch.testing.assert_close(found.image_embeddings, expected.image_embeddings, rtol=0, atol=1e-5)
    torch.testing.assert_close(found.patch_tokens, expected.patch_tokens, rtol=0, atol=1e-5)
    assert bool(projection_parameters(backbone)) == (name not in ("siglip", "siglip2", "nllb", "resnet"))
