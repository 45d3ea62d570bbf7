"""`sigrl-train import --folder`: models in the layout of transformers compute what transformers computes."""

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_clips import ODD_TEXTS, WIDTH, randomize, register_tiny_siglip, write_tokenizer
from transformers import (
    AutoTokenizer,
    CLIPConfig,
    CLIPModel,
    MetaClip2Config,
    MetaClip2Model,
    Siglip2Config,
    Siglip2Model,
    SiglipConfig,
    SiglipModel,
)

from sigrl.model.bundle import load_bundle
from sigrl.training.backbones.model_folder import read_transformers_folder
from sigrl.training.bundles.import_weights import ZeroShotHead, import_folder

BLOCKS = {
    "hidden_size": WIDTH,
    "intermediate_size": 4 * WIDTH,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
}
SQUARE = {"image_size": 64, "patch_size": 16}
KINDS = {
    "clip": (CLIPConfig, CLIPModel, None, "quick_gelu"),
    "metaclip_2": (MetaClip2Config, MetaClip2Model, "xlm", "gelu"),
    "siglip": (SiglipConfig, SiglipModel, "gemma", "gelu_pytorch_tanh"),
    "siglip2": (Siglip2Config, Siglip2Model, "gemma", "gelu_pytorch_tanh"),
}


def write_folder(kind: str, folder: Path) -> Any:
    """Writes a tiny model with random weights as transformers does, and returns it."""
    configuration, model_class, tokenizer, activation = KINDS[kind]
    folder.mkdir()
    vocabulary = 49408 if tokenizer is None else write_tokenizer(tokenizer, folder)
    text = BLOCKS | {"vocab_size": vocabulary, "hidden_act": activation}
    text |= {"max_position_embeddings": 77 if tokenizer is None else 16}
    if tokenizer == "xlm":
        text |= {"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2}
    if tokenizer == "gemma":
        text |= {"projection_size": WIDTH, "bos_token_id": 2, "pad_token_id": 0, "eos_token_id": 1}
    places = {"num_patches": 16, "patch_size": 16} if kind == "siglip2" else SQUARE
    config = configuration(
        text_config=text, vision_config=BLOCKS | places | {"hidden_act": activation}, projection_dim=WIDTH
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = model_class(config).eval()
        randomize(model)
    model.save_pretrained(folder)
    settings = {
        "image_mean": [0.5] * 3,
        "image_std": [0.5] * 3,
        "resample": 2,
        "do_center_crop": kind == "clip",
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    return model


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Any, Path, Path]]:
    """Kind -> the model of transformers, its folder, and its bundle. Do not change them."""
    register_tiny_siglip()
    root = tmp_path_factory.mktemp("folders")

    @cache
    def made(kind: str) -> tuple[Any, Path, Path]:
        model = write_folder(kind, root / kind)
        import_folder(
            read_transformers_folder(root / kind), ZeroShotHead.clip, root / f"{kind}-bundle", lambda *_: None
        )
        return model, root / kind, root / f"{kind}-bundle"

    return made


def image_inputs(kind: str, pixels: torch.Tensor) -> dict[str, torch.Tensor]:
    if kind != "siglip2":
        return {"pixel_values": pixels}
    patches = pixels.unflatten(3, (4, 16)).unflatten(2, (4, 16)).permute(0, 2, 4, 3, 5, 1)
    return {
        "pixel_values": patches.reshape(len(pixels), 16, -1),
        "pixel_attention_mask": torch.ones(len(pixels), 16),
        "spatial_shapes": torch.tensor([[4, 4]] * len(pixels)),
    }


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_image_embeddings_match_transformers(made, kind: str) -> None:
    model, _, bundle = made(kind)
    pixels = torch.from_numpy(np.random.default_rng(0).standard_normal((2, 3, 64, 64), dtype=np.float32))
    expected = model.get_image_features(**image_inputs(kind, pixels))
    found = load_bundle(bundle).model.backbone.encode_images(pixels).image_embeddings
    torch.testing.assert_close(found, getattr(expected, "pooler_output", expected), rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_text_embeddings_of_odd_texts_match_transformers(made, kind: str) -> None:
    model, folder, bundle = made(kind)
    backbone = load_bundle(bundle).model.backbone
    ours = backbone.tokenize(ODD_TEXTS)
    theirs = torch.from_numpy(ours)
    if backbone.config.has_tokenizer_file:
        tokenizer = AutoTokenizer.from_pretrained(folder)
        texts = [text.lower() if "siglip" in kind else text for text in ODD_TEXTS]
        length = backbone.config.context_length
        theirs = tokenizer(
            texts, padding="max_length", truncation=True, max_length=length, return_tensors="pt"
        )
        theirs = theirs.input_ids
    np.testing.assert_array_equal(ours, theirs.numpy())
    expected = model.get_text_features(input_ids=theirs)
    found = backbone.encode_texts(torch.from_numpy(ours))
    torch.testing.assert_close(found, getattr(expected, "pooler_output", expected), rtol=0, atol=1e-5)


def test_scale_bias_and_preprocessing_are_taken_from_the_model(made) -> None:
    model, _, bundle = made("siglip")
    loaded = load_bundle(bundle)
    torch.testing.assert_close(loaded.model.head.bias, model.logit_bias.reshape(()))
    torch.testing.assert_close(loaded.model.head.log_global_scale, model.logit_scale.reshape(()))
    assert loaded.manifest.preprocessing.resize == "squash"
    assert loaded.manifest.preprocessing.interpolation == "bilinear"
    assert loaded.manifest.preprocessing.mean == (0.5, 0.5, 0.5)


def test_import_command_accepts_a_model_folder_and_rejects_others(made, sigrl_train, tmp_path: Path) -> None:
    _, folder, bundle = made("clip")
    status, out, err = sigrl_train("import", "--folder", folder, "-o", tmp_path / "bundle")
    assert status == 0, err
    assert "wrote" in out
    assert load_bundle(tmp_path / "bundle").manifest.files == load_bundle(bundle).manifest.files
    (tmp_path / "other").mkdir()
    for content, reason in (
        ("{}", "describes a model of type None: only clip, metaclip_2, siglip, siglip2"),
        ('{"model_type": "clip"}', "lacks 'text_config'"),
        ("none", "config.json cannot be read"),
    ):
        (tmp_path / "other" / "config.json").write_text(content)
        status, _, err = sigrl_train("import", "--folder", tmp_path / "other", "-o", tmp_path / "new")
        assert status == 2
        assert reason in err
    status, _, err = sigrl_train(
        "import", "--folder", folder, "--open-clip", "ViT-B-16/openai", "-o", tmp_path / "new"
    )
    assert status == 2
    assert "omit --open-clip" in err
