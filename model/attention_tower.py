"""Passes through CLIP's vision transformer that need its attention weights; for the tagclip head."""

import sigrl.model.torchvision_cure  # noqa: F401 (before open_clip, which imports torchvision)

# isort: split
import math
from typing import Any

from open_clip.transformer import ResidualAttentionBlock, VisionTransformer
from torch import Tensor
from torch.nn import functional

from sigrl.model.features import ImageFeatures

FEWEST_BLOCKS = 4


def check_tower(visual: Any) -> None:
    """Raises ValueError unless the passes below can run through this image tower."""
    fits = (
        isinstance(visual, VisionTransformer)
        and visual.pool_type == "tok"
        and visual.attn_pool is None
        and all(isinstance(block, ResidualAttentionBlock) for block in visual.transformer.resblocks)
        and len(visual.transformer.resblocks) >= FEWEST_BLOCKS
    )
    if not fits:
        raise ValueError(
            "a tagclip head reads the attention of CLIP's own vision transformer: it needs an image tower of "
            f"open_clip's, such as ViT-B-32, ViT-B-16 or ViT-L-14, with a class token and at least "
            f"{FEWEST_BLOCKS} blocks; towers of timm, CLIP's ResNets and towers that pool by a mean or by "
            "attention have no such attention"
        )


def encode_with_affinities(visual: Any, pixel_values: Tensor) -> ImageFeatures:
    """Pixel values [B, 3, S, S] -> ImageFeatures with `affinities`.

    The image embedding is the tower's. In the last block, patch tokens attend to themselves alone, so that
    each keeps what it shows. The affinity of two patches is their mean attention over the last third of the
    blocks, without the very last. It is zero unless their attention is above the photograph's mean in at
    least a third of all blocks. For twelve blocks these are the constants of TagCLIP.
    """
    blocks = visual.transformer.resblocks
    refining = range(len(blocks) * 2 // 3, len(blocks) - 1)
    hidden = visual._embeds(pixel_values)
    votes = total = hidden.new_zeros(())
    for number, block in enumerate(blocks):
        values, logits = _look(block, hidden)
        weights = logits.softmax(dim=-1)
        attended = weights @ values
        if number == len(blocks) - 1:
            attended[:, :, 1:] = values[:, :, 1:]
        hidden = _go_on(block, hidden, attended)
        between = weights.mean(dim=1)[:, 1:, 1:]
        votes = votes + (between > between.mean(dim=(1, 2), keepdim=True)).to(votes)
        if number in refining:
            total = total + between
    affinities = total / len(refining) * (votes >= math.ceil(len(blocks) / 3))
    image_embeddings, tokens = visual._pool(hidden)
    if visual.final_ln_after_pool:
        tokens = visual.ln_post(tokens)
    return ImageFeatures(
        image_embeddings @ visual.proj, tokens @ visual.proj, visual.grid_size, affinities=affinities
    )


def encode_seeing(visual: Any, pixel_values: Tensor, seen: Tensor) -> Tensor:
    """Image embeddings [B, D] whose class token attends to some patches only: those marked in `seen`
    [B, P], and itself. Takes pixel values [B, 3, S, S] in any dtype."""
    hidden = visual._embeds(pixel_values.to(visual.conv1.weight.dtype))
    hidden_from_class = functional.pad(~seen, (1, 0), value=False)[:, None]
    for block in visual.transformer.resblocks:
        values, logits = _look(block, hidden)
        logits[:, :, 0] = logits[:, :, 0].masked_fill(hidden_from_class, -math.inf)
        hidden = _go_on(block, hidden, logits.softmax(dim=-1) @ values)
    image_embeddings: Tensor = visual._pool(hidden)[0] @ visual.proj
    return image_embeddings


def _look(block: Any, hidden: Tensor) -> tuple[Tensor, Tensor]:
    """The values [B, H, N, D / H] and the attention's logits [B, H, N, N] of a block with H heads for the
    hidden states [B, N, D] before it."""
    attention = block.attn
    projected = functional.linear(block.ln_1(hidden), attention.in_proj_weight, attention.in_proj_bias)
    parts = projected.view(*hidden.shape[:2], 3, attention.num_heads, -1)
    queries, keys, values = parts.permute(2, 0, 3, 1, 4).unbind()
    return values, queries * queries.shape[-1] ** -0.5 @ keys.mT


def _go_on(block: Any, hidden: Tensor, attended: Tensor) -> Tensor:
    """The hidden states [B, N, D] after a block: `attended` [B, H, N, D / H] is what its attention found."""
    hidden = hidden + block.ls_1(block.attn.out_proj(attended.transpose(1, 2).flatten(2)))
    after: Tensor = hidden + block.ls_2(block.mlp(block.ln_2(hidden)))
    return after
