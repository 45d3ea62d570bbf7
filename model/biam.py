"""The bi-level attention module of BiAM (Narayan et al., ICCV 2021), which puts patch tokens into context.

From BiAM come the two levels and their parts: regions narrowed by a 3x3 convolution, self-attention among
them, channels gated by the whole image, and a 1x1 convolution that fuses both. In BiAM the regions are
VGG-19's 14 x 14 features, the scene is the 4096 features of its classifier, and the labels are word vectors
under a learned map W.

Our version differs because tokens, image embedding and labels share CLIP's joint space from the start:

- The module's output is added to the tokens; BiAM has nothing to add it to.
- W is on this side of the product, as `projection`: e · (W h) = (Wᵀ e) · h, so labels stay as the text
  tower returns them. Its bias, which adds the same to every label, is left out.
- Layer normalisation replaces batch normalisation, so a photograph's tokens do not depend on its batch,
  one process trains as several do, and there are no running statistics.
- The bias of the attention's keys is left out because it cancels in the softmax; and no logit is masked
  for being exactly zero, as happens in the published code.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

HEADS = 8
"""Heads of the attention among regions, as published."""
ATTENTION_DROPOUT, SCENE_DROPOUT = 0.1, 0.2
"""As published: dropout of the attention's weights and result, and of the image embedding."""
NEGATIVE_SLOPE = 0.2


class Neighbourhood(nn.Module):
    """3x3 convolution over the grid of patches, ReLU, normalisation, in this order as published."""

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(in_features, out_features, kernel_size=3, padding=1)
        self.norm = nn.LayerNorm(out_features)

    def forward(self, regions: Tensor, grid: tuple[int, int]) -> Tensor:
        """[B, P, in] with P = height * width of `grid` -> [B, P, out]."""
        maps = self.convolution(regions.unflatten(1, grid).permute(0, 3, 1, 2))  # type: ignore[no-untyped-call]
        normalized: Tensor = self.norm(torch.relu(maps).flatten(2).mT)
        return normalized


class RegionContext(nn.Module):
    """BiAM's region contextualized block: regions attend to one another, then each passes through an MLP;
    both are residual. Its 1x1 convolutions are linear maps of regions."""

    def __init__(self, width: int) -> None:
        """Raises ValueError when the heads cannot share the width."""
        super().__init__()
        if width % HEADS:
            raise ValueError(f"a width of {width} cannot be divided among {HEADS} heads")
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width)
        self.output = nn.Linear(width, width)
        self.expand = nn.Linear(width, 2 * width)
        self.contract = nn.Linear(2 * width, width)

    def forward(self, regions: Tensor) -> Tensor:
        """[B, P, d] -> [B, P, d]."""
        dropout = ATTENTION_DROPOUT if self.training else 0.0
        query, key, value = (
            mapped(regions).unflatten(2, (HEADS, -1)).transpose(1, 2)
            for mapped in (self.query, self.key, self.value)
        )
        attended = functional.scaled_dot_product_attention(query, key, value, dropout_p=dropout)
        attended = self.output(attended.transpose(1, 2).flatten(2))
        regions = regions + functional.dropout(attended, dropout)
        contextualized: Tensor = regions + self.contract(torch.relu(self.expand(regions)))
        return contextualized


class SceneContext(nn.Module):
    """BiAM's scene contextualized block: each channel is opened where the regions and the whole image
    agree."""

    def __init__(self, embed_dim: int, width: int) -> None:
        super().__init__()
        self.scene = nn.Linear(embed_dim, width)
        self.regions = nn.Linear(width, width)
        """Used for the query and the value, as in the published code."""
        self.neighbourhood = Neighbourhood(width, width)

    def forward(self, regions: Tensor, image_embeddings: Tensor, grid: tuple[int, int]) -> Tensor:
        """[B, P, d], [B, D] -> [B, P, d]."""
        scene = self.scene(functional.dropout(image_embeddings, SCENE_DROPOUT, self.training))
        values = functional.leaky_relu(self.regions(regions), NEGATIVE_SLOPE)
        gate = torch.sigmoid(values.mean(dim=1) * scene)
        gated = values * gate[:, None]
        contextualized: Tensor = gated + self.neighbourhood(gated, grid)
        return contextualized


class BiLevelAttention(nn.Module):
    """The whole module: patch tokens in the context of regions and scene."""

    def __init__(self, embed_dim: int) -> None:
        super().__init__()
        # Half of D as in BiAM (256 of 512), rounded up to a multiple of the heads.
        width = HEADS * math.ceil(embed_dim / (2 * HEADS))
        self.narrow = Neighbourhood(embed_dim, width)
        self.region_context = RegionContext(width)
        self.scene_context = SceneContext(embed_dim, width)
        self.fusion = nn.Linear(2 * width, embed_dim)
        self.projection = nn.Linear(embed_dim, embed_dim, bias=False)
        # Initialised with zero, so that the first step sees the tower's own tokens and CLIP's zero-shot
        # knowledge is kept. This map learns first, and all others once it is no longer zero.
        nn.init.zeros_(self.projection.weight)

    def forward(self, patch_tokens: Tensor, image_embeddings: Tensor, grid: tuple[int, int]) -> Tensor:
        """`patch_tokens` [B, P, D] with P = height * width of `grid`, `image_embeddings` [B, D] -> [B, P, D].

        An untrained module returns the tokens unchanged. The result does not depend on labels or other
        photographs.
        """
        regions = self.narrow(patch_tokens, grid)
        contexts = [self.region_context(regions), self.scene_context(regions, image_embeddings, grid)]
        fused = functional.leaky_relu(self.fusion(torch.cat(contexts, dim=-1)), NEGATIVE_SLOPE)
        enriched: Tensor = patch_tokens + self.projection(fused)
        return enriched
