"""The only module that uses open_clip's private functions: builds its towers and calls them.

Towers are open_clip's vision transformers, CLIP's ResNets, timm's models in open_clip's wrapper, and CLIP's
text towers.
"""

import sigrl.model.torchvision_cure  # noqa: F401 (before open_clip, which imports torchvision)

# isort: split
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from open_clip.model import _build_text_tower, _build_vision_tower
from open_clip.modified_resnet import ModifiedResNet
from open_clip.timm_model import TimmModel
from open_clip.tokenizer import SimpleTokenizer
from open_clip.transformer import VisionTransformer
from torch import Tensor, nn

from sigrl.model.attention_pools import encode_by_pooled_vit, encode_by_resnet
from sigrl.model.config import BackboneConfig
from sigrl.model.features import ImageFeatures
from sigrl.model.prompt_tokens import Tokenize


def build_image_tower(config: BackboneConfig) -> Any:
    """open_clip's tower for `config.vision`, freshly initialised. Raises ValueError when it cannot be built
    or has no patch tokens."""
    # Patch dropout would leave holes in the grid.
    options = config.vision | {"output_tokens": True, "patch_dropout": 0.0}
    try:
        visual = _build_vision_tower(config.embed_dim, options, config.quick_gelu)
    except Exception as error:
        raise ValueError(f"the image tower cannot be built: {error}") from error
    if isinstance(visual, TimmModel):
        # open_clip passes this option on to its own towers only.
        for gelu in (module for module in visual.modules() if isinstance(module, nn.GELU)):
            gelu.approximate = (config.vision.get("act_kwargs") or {}).get("approximate", "none")
        if config.vision.get("timm_pool") in ("abs_attn", "rot_attn"):
            raise ValueError("an image tower that pools by attention in its head gives no patch tokens")
    elif isinstance(visual, VisionTransformer) and visual.pool_type == "none":
        raise ValueError("a ViT with two attention pools, or with none, gives no patch tokens")
    return visual


def build_clip_text_tower(config: BackboneConfig) -> Any:
    """open_clip's tower for `config.text`, freshly initialised. Raises ValueError."""
    options = (config.text or {}) | {"output_tokens": False}
    try:
        return _build_text_tower(config.embed_dim, options, config.quick_gelu)
    except Exception as error:
        raise ValueError(f"the text tower cannot be built: {error}") from error


def clip_tokenizer(config: BackboneConfig) -> Tokenize:
    """CLIP's tokenizer for the text tower of a configuration. Raises ValueError if the tower has another."""
    tokenizer = SimpleTokenizer(context_length=config.context_length)
    if config.token_rows != tokenizer.vocab_size:
        raise ValueError(
            f"the text tower's table has {config.token_rows:,} rows, and CLIP's tokenizer knows "
            f"{tokenizer.vocab_size:,} tokens"
        )

    def tokenize(texts: Sequence[str]) -> npt.NDArray[np.int64]:
        token_ids: npt.NDArray[np.int64] = tokenizer(list(texts)).numpy()
        return token_ids

    return tokenize


def projection_name(visual: Any) -> str | None:
    """The attribute of an image tower that projects into the joint space; None for CLIP's ResNets, whose pool
    ends there."""
    if isinstance(visual, ModifiedResNet):
        return None
    return "head" if isinstance(visual, TimmModel) else "proj"


def encode_images(visual: Any, pixel_values: Tensor) -> ImageFeatures:
    """Pixel values [B, 3, S, S] -> ImageFeatures of a tower that `build_image_tower` made."""
    if isinstance(visual, TimmModel):
        return _encode_by_timm(visual, pixel_values)
    if isinstance(visual, ModifiedResNet):
        return encode_by_resnet(visual, pixel_values)
    if visual.attn_pool is not None:
        return encode_by_pooled_vit(visual, pixel_values)
    return _encode_by_vision_transformer(visual, pixel_values)


def _encode_by_vision_transformer(visual: Any, pixel_values: Tensor) -> ImageFeatures:
    image_embeddings, tokens = visual(pixel_values)
    if visual.final_ln_after_pool:
        tokens = visual.ln_post(tokens)
    return ImageFeatures(image_embeddings, tokens @ visual.proj, visual.grid_size)


def _encode_by_timm(visual: Any, pixel_values: Tensor) -> ImageFeatures:
    trunk = visual.trunk
    features: Tensor = trunk.forward_features(pixel_values)
    image_embeddings: Tensor = visual.head(trunk.forward_head(features))
    if features.ndim == 4:
        # Some towers (Swin) have channels-last outputs.
        channels_last = getattr(trunk, "output_fmt", "NCHW") == "NHWC"
        positions = features if channels_last else features.permute(0, 2, 3, 1)
        grid = (positions.shape[1], positions.shape[2])
        single = positions.reshape(-1, 1, 1, positions.shape[3])
        alone = single if channels_last else single.permute(0, 3, 1, 2)
    else:
        prefix = getattr(trunk, "num_prefix_tokens", 0)
        positions = features[:, prefix:]
        side = math.isqrt(positions.shape[1])
        grid = (side, side)
        # The position is repeated for the class token and for all patches, which is right for every pooling.
        alone = positions.reshape(-1, 1, positions.shape[2]).expand(-1, prefix + 1, -1)
    patch_tokens: Tensor = visual.head(trunk.forward_head(alone))
    return ImageFeatures(
        image_embeddings, patch_tokens.view(pixel_values.shape[0], grid[0] * grid[1], -1), grid
    )
