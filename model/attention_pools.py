"""Patch tokens of open_clip's towers that pool by attention, through the value path of the pool.

An attention pool adds up values of its positions, each a linear map of the position's feature, and maps the
sum into the joint space. The token of a position is what the pool makes of that position's value alone, as in
MaskCLIP (Zhou, Loy and Dai: Extract Free Dense Labels from CLIP, ECCV 2022). timm's pools need no code here:
where all positions are the same, any attention returns their value, and the value path remains.
"""

from typing import Any

from torch import Tensor
from torch.nn import functional

from sigrl.model.features import ImageFeatures


def encode_by_resnet(visual: Any, pixel_values: Tensor) -> ImageFeatures:
    """Pixel values [B, 3, S, S] -> ImageFeatures of open_clip's `ModifiedResNet`.

    Positions get their position embedding, as in the pool, so that with one head the image embedding is a
    weighted mean of these tokens and of the token of the mean position.
    """
    features = visual.layer4(visual.layer3(visual.layer2(visual.layer1(visual.stem(pixel_values)))))
    pool = visual.attnpool
    image_embeddings: Tensor = pool(features)
    positions = features.flatten(2).mT + pool.positional_embedding[1:]
    tokens: Tensor = pool.c_proj(pool.v_proj(positions))
    return ImageFeatures(image_embeddings, tokens, (features.shape[2], features.shape[3]))


def encode_by_pooled_vit(visual: Any, pixel_values: Tensor) -> ImageFeatures:
    """Pixel values [B, 3, S, S] -> ImageFeatures of open_clip's `VisionTransformer` with CoCa's pool."""
    hidden = visual.transformer(visual._embeds(pixel_values))
    pooled, _ = visual._pool(hidden)
    pool, attention = visual.attn_pool, visual.attn_pool.attn
    if attention.in_proj_weight is None:
        weight = attention.v_proj_weight
    else:
        weight = attention.in_proj_weight.chunk(3)[2]
    values = functional.linear(pool.ln_k(hidden[:, 1:]), weight, attention.in_proj_bias.chunk(3)[2])
    tokens = visual.ln_post(attention.out_proj(values))
    return ImageFeatures(pooled @ visual.proj, tokens @ visual.proj, visual.grid_size)
