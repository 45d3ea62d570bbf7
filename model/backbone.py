"""An image tower and a text tower with a joint space, built from open_clip's and timm's parts."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from sigrl.model.config import BackboneConfig
from sigrl.model.features import ImageFeatures
from sigrl.model.label_texts import text_batches
from sigrl.model.open_clip_towers import build_image_tower, encode_images
from sigrl.model.prompt_tokens import PromptTokens
from sigrl.model.text_towers import build_text_tower, build_tokenizer
from sigrl.model.vocabulary import Label
from sigrl.model.word_tower import WordTower


class Backbone(nn.Module):
    """Encodes images to ImageFeatures and texts to label embeddings.

    `visual` is open_clip's image tower; `text` is one of the towers of `sigrl.model.text_towers`. Every
    method computes in the dtype and on the device of the weights, and is differentiable.
    """

    def __init__(self, config: BackboneConfig, tokenizer: bytes | None = None) -> None:
        """Weights are freshly initialised. `tokenizer` is the content of a `tokenizer.json`; None for
        CLIP's own tokenizer.

        Raises ValueError when a tower cannot be built from its configuration, or has no patch tokens.
        """
        super().__init__()
        self.config = config
        self.visual: Any = (
            build_image_tower(config) if config.words is None else WordTower(config, config.words)
        )
        self.text = build_text_tower(config)
        self._tokenize = build_tokenizer(config, tokenizer)
        if config.learned_prompt:
            self._learn_prompt()

    def encode_images(self, pixel_values: Tensor) -> ImageFeatures:
        """Pixel values [B, 3, S, S] -> ImageFeatures, not normalised.

        The image embedding is open_clip's output. A patch token is the tower's output for its position if
        that were the whole image: the same norm and projection, without the pooling. For a ViT these are the
        tokens after `ln_post` times the projection (METHOD.md, Notation); the positions of a feature map are
        treated the same way.
        """
        if isinstance(self.visual, WordTower):
            features: ImageFeatures = self.visual(pixel_values)
            return features
        return encode_images(self.visual, pixel_values)

    def tokenize(self, texts: Sequence[str]) -> npt.NDArray[np.int64]:
        """Token ids [N, L], truncated to the tower's context length."""
        return self._tokenize(texts)

    def encode_texts(self, token_ids: Tensor) -> Tensor:
        """Token ids [N, L] -> text features [N, D], not normalised."""
        features: Tensor = self.text(token_ids)
        return features

    def encode_labels(self, labels: Sequence[Label], progress: Callable[[int], None] | None = None) -> Tensor:
        """Label embeddings [C, D], in the order of `labels`; `label_texts` explains how texts form a label.
        `progress` receives the number of labels done."""
        first = next(self.text.parameters())
        embeddings = first.new_zeros(len(labels), self.config.embed_dim)
        for batch in text_batches(labels, self.config.prompts):
            token_ids = torch.from_numpy(self.tokenize(batch.texts))
            features = self.encode_texts(token_ids.to(first.device))
            counts = torch.from_numpy(batch.counts).to(first.device)[:, None]
            shares = functional.normalize(features, dim=-1) / counts
            rows = torch.from_numpy(batch.rows).to(first.device)
            embeddings.index_add_(0, rows, torch.where(counts > 1, shares, features))
            if progress is not None:
                progress(batch.labels_done)
        return embeddings

    def _learn_prompt(self) -> None:
        self.prompt_tokens = PromptTokens(self._tokenize, self.config.prompts[0], self.config.token_rows)
        self._tokenize = self.prompt_tokens
        text: Any = self.text
        # In a learned prompt the end of a text has its own id, the highest of all.
        if getattr(text, "pool_type", None) == "eos":
            raise ValueError("a text tower that finds the end of a text by its number cannot learn a prompt")
        text.token_embedding = PromptedTable(text.token_embedding, len(self.prompt_tokens.replaced))


class PromptedTable(nn.Embedding):
    """A text tower's token table, followed by the rows of the learned prompt."""

    def __init__(self, table: nn.Embedding, prompt_length: int) -> None:
        super().__init__(table.num_embeddings, table.embedding_dim)
        self.prompt = nn.Parameter(torch.zeros(prompt_length, table.embedding_dim))

    def forward(self, token_ids: Tensor) -> Tensor:
        """Token ids [N, L] -> token embeddings [N, L, width]."""
        of_prompt = token_ids >= self.num_embeddings
        words = super().forward(token_ids.masked_fill(of_prompt, 0))
        prompt = functional.embedding((token_ids - self.num_embeddings).clamp(min=0), self.prompt)
        return torch.where(of_prompt[..., None], prompt, words)
