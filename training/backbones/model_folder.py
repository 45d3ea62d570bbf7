"""A folder with a CLIP or SigLIP in the layout of Hugging Face's transformers."""

import sigrl.model.torchvision_cure  # noqa: F401 (before timm, which imports torchvision)

# isort: split
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from math import isqrt
from pathlib import Path
from typing import Any

import timm
import torch
from pydantic import ValidationError
from torch import Tensor

from sigrl.model.config import CLIP_TOKENS, BackboneConfig, Preprocessing, TokenizerConfig
from sigrl.training.backbones.transformers_names import rename_clip, rename_siglip
from sigrl.training.backbones.weight_files import WeightsError

CONFIG, PROCESSOR, TOKENIZER_SETTINGS = "config.json", "preprocessor_config.json", "tokenizer_config.json"
_ACTIVATIONS: dict[str, dict[str, Any]] = {
    "gelu": {},
    "quick_gelu": {},
    "gelu_pytorch_tanh": {"act_kwargs": {"approximate": "tanh"}},
}
_INTERPOLATIONS = {2: "bilinear", 3: "bicubic"}
"""Pillow's numbers."""


@dataclass(frozen=True)
class TransformersFolder:
    """A model in the layout of transformers: `CLIPModel`, `MetaClip2Model`, `SiglipModel`, `Siglip2Model`."""

    path: Path
    backbone: BackboneConfig
    preprocessing: Preprocessing
    rename: Callable[[Mapping[str, Tensor]], dict[str, Tensor]]
    """Renames the tensors of the weight files to the names of `Backbone`."""
    lower_case: bool
    """Whether it was trained on lower-case texts; its tokenizer.json may not say so."""

    @property
    def weight_files(self) -> list[Path]:
        """The files with the weights. Raises WeightsError when there are none."""
        for pattern in ("model*.safetensors", "pytorch_model*.bin"):
            if files := sorted(self.path.glob(pattern)):
                return files
        raise WeightsError(f"{self.path} has no model.safetensors: download the whole folder")


def read_transformers_folder(path: Path) -> TransformersFolder:
    """Describes the model in a folder by its config.json and preprocessor_config.json.

    Raises WeightsError if one is missing, or if a bundle cannot represent the model.
    """
    config = _read_json(path / CONFIG)
    describe = _FAMILIES.get(str(config.get("model_type")))
    if describe is None:
        raise WeightsError(
            f"{path / CONFIG} describes a model of type {config.get('model_type')!r}: only "
            f"{', '.join(sorted(_FAMILIES))} can be imported"
        )
    try:
        return describe(path, config)
    except KeyError as error:
        raise WeightsError(f"{path / CONFIG} lacks {error}: download it again") from error
    except ValidationError as error:
        raise WeightsError(f"{path} cannot be imported: {error.errors()[0]['msg']}") from error


def _describe_clip(path: Path, config: Mapping[str, Any]) -> TransformersFolder:
    text, vision = config["text_config"], config["vision_config"]
    activation = _activation(path, text, vision)
    own_tokenizer = text["vocab_size"] != CLIP_TOKENS
    backbone = BackboneConfig(
        embed_dim=config["projection_dim"],
        vision=_transformer(vision)
        | _ACTIVATIONS[activation]
        | {
            "image_size": vision["image_size"],
            "patch_size": vision["patch_size"],
            "head_width": vision["hidden_size"] // vision["num_attention_heads"],
        },
        text=_text(text)
        | _ACTIVATIONS[activation]
        # With CLIP's tokenizer the end of a text is the highest token, which is where open_clip pools.
        | ({"pool_type": "eos", "eos_id": text["eos_token_id"]} if own_tokenizer else {}),
        tokenizer=TokenizerConfig(clean="none") if own_tokenizer else None,
        quick_gelu=activation == "quick_gelu",
    )
    return TransformersFolder(
        path, backbone, _preprocessing(path, vision["image_size"]), rename_clip, lower_case=False
    )


def _describe_siglip(path: Path, config: Mapping[str, Any]) -> TransformersFolder:
    text, vision = config["text_config"], config["vision_config"]
    activation = _ACTIVATIONS[_activation(path, text, vision)]
    patch = vision["patch_size"]
    # Siglip2Model takes photographs of any shape; a bundle shows it the square that its positions stand for.
    size = vision.get("image_size") or isqrt(vision["num_patches"]) * patch
    first = _read_json(path / TOKENIZER_SETTINGS).get("tokenizer_class") == "SiglipTokenizer"
    backbone = BackboneConfig(
        embed_dim=vision["hidden_size"],
        vision=activation
        | {
            "timm_model_name": _timm_name(path, vision, size),
            "image_size": size,
            "timm_pool": "map",
            "timm_proj": "none",
        },
        text=_text(text) | activation | {"no_causal_mask": True, "proj_bias": True, "pool_type": "last"},
        tokenizer=TokenizerConfig(clean="canonicalize" if first else "none"),
    )
    return TransformersFolder(
        path,
        backbone,
        _preprocessing(path, size),
        partial(rename_siglip, patch_size=patch),
        lower_case=not first,
    )


_FAMILIES = {
    "clip": _describe_clip,
    "metaclip_2": _describe_clip,
    "siglip": _describe_siglip,
    "siglip2": _describe_siglip,
}
"""By `model_type` of config.json."""


def _transformer(config: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "width": config["hidden_size"],
        "layers": config["num_hidden_layers"],
        "mlp_ratio": config["intermediate_size"] / config["hidden_size"],
        "norm_kwargs": {"eps": config["layer_norm_eps"]},
    }


def _text(config: Mapping[str, Any]) -> dict[str, Any]:
    return _transformer(config) | {
        "context_length": config["max_position_embeddings"],
        "vocab_size": config["vocab_size"],
        "heads": config["num_attention_heads"],
    }


def _activation(path: Path, text: Mapping[str, Any], vision: Mapping[str, Any]) -> str:
    found = {text["hidden_act"], vision["hidden_act"]}
    if len(found) > 1 or not found <= _ACTIVATIONS.keys():
        raise WeightsError(
            f"{path / CONFIG} names the activations {sorted(found)}: both towers of a bundle "
            f"use the same one, of {sorted(_ACTIVATIONS)}"
        )
    return str(found.pop())


def _timm_name(path: Path, vision: Mapping[str, Any], size: int) -> str:
    """timm's name of a SigLIP image tower. Raises WeightsError when timm has none of this shape."""
    wanted = (vision["hidden_size"], vision["num_hidden_layers"], vision["num_attention_heads"])
    for name in timm.list_models(f"vit_*_patch{vision['patch_size']}_siglip_{size}"):
        with torch.device("meta"):
            tower = timm.create_model(name, num_classes=0)
        if (tower.embed_dim, len(tower.blocks), tower.blocks[0].attn.num_heads) == wanted:
            return name
    raise WeightsError(
        f"{path / CONFIG} describes an image tower of width {wanted[0]} with {wanted[1]} blocks for {size} "
        "pixels, which timm does not have"
    )


def _preprocessing(path: Path, size: int) -> Preprocessing:
    settings = _read_json(path / PROCESSOR)
    return Preprocessing(
        image_size=size,
        resize="crop" if settings.get("do_center_crop", False) else "squash",
        interpolation=_INTERPOLATIONS.get(settings.get("resample", 3), "bicubic"),
        mean=tuple(settings["image_mean"]),
        std=tuple(settings["image_std"]),
    )


def _read_json(file: Path) -> Mapping[str, Any]:
    try:
        content = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsError(f"{file} cannot be read ({error}): download the whole folder") from error
    if not isinstance(content, Mapping):
        raise WeightsError(f"{file} is not a JSON object: download the whole folder")
    return content
