"""A BERT-shaped sentence encoder as text tower (Reimers and Gurevych 2019: mean pooling)."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from sigrl.model.config import SentenceEncoderConfig

PADDING_TOKEN = 0


class SentenceEncoder(nn.Module):
    """Token ids -> [N, D]: token and position embeddings, post-norm blocks, mean over tokens, unit norm,
    affine map into the joint space.

    BERT's token-type embedding of a single sentence is constant and therefore added to the positions.
    """

    def __init__(self, config: SentenceEncoderConfig, embed_dim: int) -> None:
        super().__init__()
        self.token_embedding = nn.Embedding(config.vocab_size, config.width)
        self.position_embedding = nn.Parameter(torch.zeros(config.context_length, config.width))
        self.embedding_norm = nn.LayerNorm(config.width, eps=1e-12)
        block = nn.TransformerEncoderLayer(
            config.width,
            config.heads,
            config.feed_forward,
            dropout=0.0,
            activation="gelu",
            layer_norm_eps=1e-12,
            batch_first=True,
        )
        self.transformer = nn.TransformerEncoder(block, config.layers, enable_nested_tensor=False)
        self.projection = nn.Linear(config.width, embed_dim)

    def encode(self, token_ids: Tensor) -> Tensor:
        """Sentence embeddings [N, width], unit norm, of `token_ids` [N, L] (int64, padded with 0)."""
        padding = token_ids == PADDING_TOKEN
        hidden = self.token_embedding(token_ids) + self.position_embedding[: token_ids.shape[1]]
        hidden = self.transformer(self.embedding_norm(hidden), src_key_padding_mask=padding)
        keep = (~padding).unsqueeze(-1).to(hidden.dtype)
        pooled = (hidden * keep).sum(1) / keep.sum(1)
        return functional.normalize(pooled, dim=-1)

    def forward(self, token_ids: Tensor) -> Tensor:
        """Text features [N, D], not normalised, of `token_ids` [N, L]."""
        features: Tensor = self.projection(self.encode(token_ids))
        return features
