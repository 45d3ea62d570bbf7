"""Tiny image towers of timm's FastViT (MobileCLIP) and ViTamin, which open_clip finds by their names."""

from collections.abc import Callable
from functools import partial
from typing import Any

import timm
from timm.models import register_model
from timm.models.fastvit import FastVit, RepConditionalPosEnc
from timm.models.vision_transformer import VisionTransformer
from timm.models.vitamin import GeGluMlp, HybridEmbed, MbConvStages, VitCfg, VitConvCfg
from torch import nn

FASTVIT = {"image_size": 64, "timm_model_name": "fastvit_tiny32", "timm_pool": "avg", "timm_proj": None}
VITAMIN = {"image_size": 64, "timm_model_name": "vitamin_tiny32", "timm_pool": "", "timm_proj": "linear"}


def register_tower(name: str, module: str, build: Callable[..., nn.Module]) -> None:
    """Adds `build` to timm's models for this process, unless the name is known. `module` is timm's module of
    the architecture."""
    if name in timm.list_models():
        return

    def tower(pretrained: bool = False, **options: Any) -> nn.Module:  # noqa: ARG001
        for unused in ("pretrained_cfg", "pretrained_cfg_overlay", "cache_dir"):
            options.pop(unused, None)
        return build(**options)

    tower.__name__ = name
    tower.__module__ = module
    register_model(tower)


def register_fastvit_and_vitamin() -> None:
    register_tower("fastvit_tiny32", "timm.models.fastvit", _fastvit)
    register_tower("vitamin_tiny32", "timm.models.vitamin", _vitamin)


def _fastvit(**options: Any) -> nn.Module:
    """As timm's `fastvit_mci0`."""
    position = partial(RepConditionalPosEnc, spatial_shape=(7, 7))
    return FastVit(
        layers=(1, 1, 1, 1),
        embed_dims=(8, 8, 16, 32),
        mlp_ratios=(2, 2, 2, 2),
        se_downsamples=(False, False, True, True),
        pos_embs=(None, None, None, position),
        token_mixers=("repmixer", "repmixer", "repmixer", "attention"),
        lkc_use_act=True,
        **options,
    )


def _vitamin(**options: Any) -> nn.Module:
    """As timm's `vitamin_small_224`."""
    norm = VitConvCfg(norm_layer="layernorm2d", norm_eps=1e-6)
    stages = VitCfg(embed_dim=(8, 16, 32), depths=(1, 1, 1), stem_width=8, conv_cfg=norm, head_type="1d")
    embedding = partial(HybridEmbed, backbone=MbConvStages(cfg=stages), proj=False)
    tower = VisionTransformer(
        img_size=64, patch_size=1, embed_dim=32, depth=2, num_heads=2, mlp_layer=GeGluMlp, mlp_ratio=2.0,
        class_token=False, embed_layer=embedding, **({"global_pool": "avg"} | options),
    )  # fmt: skip
    # open_clip asks it for the size of the last map, which only models of `build_model_with_cfg` have.
    tower.default_cfg = {}
    return tower
