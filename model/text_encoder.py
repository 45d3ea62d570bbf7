"""Text encoders of Hugging Face's transformers in models of open_clip: RoBERTa, XLM-RoBERTa and NLLB.

They compute what open_clip's `HFTextEncoder` computes, without transformers.
"""

import math

import torch
from torch import Tensor, nn

from sigrl.model.config import TextEncoderConfig


class TextEncoder(nn.Module):
    """Token ids -> [N, D]: token and position embeddings, blocks, pooling, a map into the joint space.

    RoBERTa's blocks normalise after each part, NLLB's before. RoBERTa also adds the embedding of the token
    type, which is the same for all tokens here; NLLB's positions are sinusoids.
    """

    def __init__(self, config: TextEncoderConfig, embed_dim: int) -> None:
        """Raises ValueError when the width cannot be divided among the heads."""
        super().__init__()
        if config.width % config.heads:
            raise ValueError(f"a width of {config.width} cannot be divided among {config.heads} heads")
        self.config = config
        norm_first = config.kind == "nllb"
        self.token_embedding = nn.Embedding(config.vocab_size, config.width)
        self.token_scale = math.sqrt(config.width) if norm_first else 1.0
        self.position_embedding: Tensor
        if norm_first:
            self.register_buffer("position_embedding", _sinusoids(config), persistent=False)
        else:
            self.position_embedding = nn.Parameter(torch.zeros(config.context_length, config.width))
            self.type_embedding = nn.Parameter(torch.zeros(config.width))
        self.embedding_norm = nn.Identity() if norm_first else nn.LayerNorm(config.width)
        block = nn.TransformerEncoderLayer(
            config.width,
            config.heads,
            config.feed_forward,
            dropout=0.0,
            activation="relu" if norm_first else "gelu",
            batch_first=True,
            norm_first=norm_first,
        )
        norm = nn.LayerNorm(config.width) if norm_first else None
        self.transformer = nn.TransformerEncoder(block, config.layers, norm, enable_nested_tensor=False)
        if config.projection == "linear":
            self.projection: nn.Module = nn.Linear(config.width, embed_dim, bias=False)
        else:
            hidden = (config.width + embed_dim) // 2
            self.projection = nn.Sequential(
                nn.Linear(config.width, hidden, bias=False),
                nn.GELU(),
                nn.Linear(hidden, embed_dim, bias=False),
            )

    def forward(self, token_ids: Tensor) -> Tensor:
        """Text features [N, D], not normalised, of `token_ids` [N, L] (int64)."""
        padding = token_ids == self.config.padding_token
        hidden = self.token_embedding(token_ids) * self.token_scale
        hidden = hidden + self.position_embedding[: token_ids.shape[1]]
        if self.config.kind == "roberta":
            hidden = hidden + self.type_embedding
        hidden = self.embedding_norm(hidden)
        hidden = self.transformer(hidden, src_key_padding_mask=padding)
        if self.config.pooling == "first":
            pooled = hidden[:, 0]
        else:
            keep = (~padding).unsqueeze(-1).to(hidden.dtype)
            pooled = (hidden * keep).sum(1) / keep.sum(1)
        features: Tensor = self.projection(pooled)
        return features


def _sinusoids(config: TextEncoderConfig) -> Tensor:
    """The positions [L, width] of transformers' `M2M100SinusoidalPositionalEmbedding`: sines, then cosines,
    of positions that begin after the padding's id."""
    half = config.width // 2
    frequencies = torch.exp(torch.arange(half) * (-math.log(10000) / (half - 1)))
    first = config.padding_token + 1
    angles = torch.arange(first, first + config.context_length)[:, None] * frequencies
    sinusoids = torch.zeros(config.context_length, config.width)
    sinusoids[:, :half], sinusoids[:, half : 2 * half] = angles.sin(), angles.cos()
    return sinusoids
