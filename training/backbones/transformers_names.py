"""Tensors of CLIP and SigLIP, from the names of Hugging Face's transformers to open_clip's and timm's."""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

_BLOCK = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "self_attn.out_proj": "attn.out_proj",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
}
_TEXT = {
    "text_model.embeddings.token_embedding.weight": "text.token_embedding.weight",
    "text_model.embeddings.position_embedding.weight": "text.positional_embedding",
    "text_model.final_layer_norm": "text.ln_final",
}
_CLIP = _TEXT | {
    "vision_model.embeddings.class_embedding": "visual.class_embedding",
    "vision_model.embeddings.patch_embedding.weight": "visual.conv1.weight",
    "vision_model.embeddings.position_embedding.weight": "visual.positional_embedding",
    "vision_model.pre_layrnorm": "visual.ln_pre",
    "vision_model.post_layernorm": "visual.ln_post",
}
_TIMM_BLOCK = {
    "layer_norm1": "norm1",
    "layer_norm2": "norm2",
    "self_attn.out_proj": "attn.proj",
    "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
}
_SIGLIP = _TEXT | {
    "text_model.head": "text.text_projection",
    "vision_model.embeddings.patch_embedding": "visual.trunk.patch_embed.proj",
    "vision_model.post_layernorm": "visual.trunk.norm",
    "vision_model.head.probe": "visual.trunk.attn_pool.latent",
    "vision_model.head.attention.out_proj": "visual.trunk.attn_pool.proj",
    "vision_model.head.layernorm": "visual.trunk.attn_pool.norm",
    "vision_model.head.mlp": "visual.trunk.attn_pool.mlp",
}
_QUERIES = ("q_proj", "k_proj", "v_proj")


def rename_clip(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict of `CLIPModel` or `MetaClip2Model` under open_clip's names. Unknown names stay."""
    blocks = {
        "vision_model.encoder.layers": ("visual.transformer.resblocks", "attn.in_proj_", _BLOCK),
        "text_model.encoder.layers": ("text.transformer.resblocks", "attn.in_proj_", _BLOCK),
    }
    own = _rename(_join_queries(tensors), _CLIP, blocks)
    for theirs, ours in (("visual_projection", "visual.proj"), ("text_projection", "text.text_projection")):
        if f"{theirs}.weight" in own:
            own[ours] = own.pop(f"{theirs}.weight").T.contiguous()
    return own


def rename_siglip(tensors: Mapping[str, Tensor], patch_size: int) -> dict[str, Tensor]:
    """A state dict of `SiglipModel` or `Siglip2Model` under the names of open_clip's text tower and timm's
    image tower. Unknown names stay."""
    blocks = {
        "vision_model.encoder.layers": ("visual.trunk.blocks", "attn.qkv.", _TIMM_BLOCK),
        "text_model.encoder.layers": ("text.transformer.resblocks", "attn.in_proj_", _BLOCK),
    }
    own = _rename(_join_queries(tensors), _SIGLIP, blocks)
    patches = own.get("visual.trunk.patch_embed.proj.weight")
    if patches is not None and patches.ndim == 2:  # Siglip2Model multiplies patches, with channels last
        unflattened = patches.unflatten(1, (patch_size, patch_size, 3))
        own["visual.trunk.patch_embed.proj.weight"] = unflattened.permute(0, 3, 1, 2).contiguous()
    positions = own.pop("vision_model.embeddings.position_embedding.weight", None)
    if positions is not None:
        own["visual.trunk.pos_embed"] = positions[None]
    for kind in ("weight", "bias"):
        joined = own.pop(f"vision_model.head.attention.in_proj_{kind}", None)
        if joined is not None:
            width = len(joined) // 3
            own[f"visual.trunk.attn_pool.q.{kind}"] = joined[:width].clone()
            own[f"visual.trunk.attn_pool.kv.{kind}"] = joined[width:].clone()
    return own


def _join_queries(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Queries, keys and values of each block as one tensor, called `in_proj.weight` and `in_proj.bias`."""
    joined = dict(tensors)
    for name in tensors:
        place, found, kind = name.rpartition(".self_attn.q_proj.")
        parts = [f"{place}.self_attn.{part}.{kind}" for part in _QUERIES]
        if found and all(part in joined for part in parts):
            joined[f"{place}.self_attn.in_proj.{kind}"] = torch.cat([joined.pop(part) for part in parts])
    return joined


def _rename(
    tensors: Mapping[str, Tensor],
    names: Mapping[str, str],
    blocks: Mapping[str, tuple[str, str, Mapping[str, str]]],
) -> dict[str, Tensor]:
    """Renames by the beginning of a name, and within blocks by their place."""
    own: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        beginning = next((one for one in names if name == one or name.startswith(f"{one}.")), None)
        block = re.fullmatch(r"(\w+\.encoder\.layers)\.(\d+)\.(.+)\.(weight|bias)", name)
        if beginning is not None:
            own[names[beginning] + name.removeprefix(beginning)] = tensor
        elif block is not None and block[1] in blocks:
            ours, queries, parts = blocks[block[1]]
            if block[3] == "self_attn.in_proj":
                own[f"{ours}.{block[2]}.{queries}{block[4]}"] = tensor
            else:
                own[f"{ours}.{block[2]}.{parts.get(block[3], block[3])}.{block[4]}"] = tensor
        elif not name.endswith("position_ids"):  # a buffer of older releases
            own[name] = tensor
    return own
