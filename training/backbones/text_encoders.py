"""The text encoders of Hugging Face's transformers that open_clip's models have, and their tensors' names."""

from collections.abc import Mapping

import torch
from torch import Tensor

from sigrl.model.config import TextEncoderConfig
from sigrl.training.backbones.weight_files import WeightsError

TEXT_ENCODERS = {
    "roberta-base": TextEncoderConfig(
        kind="roberta", vocab_size=50265, width=768, layers=12, heads=12, feed_forward=3072
    ),
    "xlm-roberta-base": TextEncoderConfig(
        kind="roberta", vocab_size=250002, width=768, layers=12, heads=12, feed_forward=3072
    ),
    "xlm-roberta-large": TextEncoderConfig(
        kind="roberta", vocab_size=250002, width=1024, layers=24, heads=16, feed_forward=4096
    ),
    "facebook/nllb-200-distilled-600M": TextEncoderConfig(
        kind="nllb", vocab_size=256206, width=1024, layers=12, heads=16, feed_forward=4096
    ),
    "facebook/nllb-200-distilled-1.3B": TextEncoderConfig(
        kind="nllb", vocab_size=256206, width=1024, layers=24, heads=16, feed_forward=8192
    ),
}
"""By open_clip's `hf_model_name`."""

# Our name of a part of a block -> theirs.
_BERT_BLOCK = {
    "self_attn.out_proj": "attention.output.dense",
    "norm1": "attention.output.LayerNorm",
    "linear1": "intermediate.dense",
    "linear2": "output.dense",
    "norm2": "output.LayerNorm",
}
_NLLB_BLOCK = {
    "self_attn.out_proj": "self_attn.out_proj",
    "norm1": "self_attn_layer_norm",
    "linear1": "fc1",
    "linear2": "fc2",
    "norm2": "final_layer_norm",
}
_PROJECTIONS = {"linear": {"weight": "weight"}, "mlp": {"0.weight": "0.weight", "2.weight": "2.weight"}}


TOKEN_TYPES = "embeddings.token_type_embeddings.weight"
"""BERT's and RoBERTa's table of token types; the first is that of a single text."""


def bert_weights(published: Mapping[str, Tensor], layers: int, positions: slice) -> dict[str, Tensor]:
    """The embeddings and blocks of a BERT or RoBERTa under the names of our encoders, without the embedding
    of the token type. `positions` are the rows of its position table that our texts need. Raises KeyError
    when a tensor is missing."""
    own = {
        "token_embedding.weight": published["embeddings.word_embeddings.weight"],
        "position_embedding": published["embeddings.position_embeddings.weight"][positions],
    }
    for kind in ("weight", "bias"):
        own[f"embedding_norm.{kind}"] = published[f"embeddings.LayerNorm.{kind}"]
    queries = [f"attention.self.{part}" for part in ("query", "key", "value")]
    return own | _blocks(published, "encoder.layer", layers, _BERT_BLOCK, queries)


def rename_text_encoder(tensors: Mapping[str, Tensor], config: TextEncoderConfig) -> dict[str, Tensor]:
    """A state dict of open_clip's `HFTextEncoder` under the names of `TextEncoder`. Raises WeightsError when
    a tensor is missing."""
    published = {
        name.removeprefix("transformer."): one
        for name, one in tensors.items()
        if name.startswith("transformer.")
    }
    try:
        if config.kind == "nllb":
            own = _nllb_weights(published, config.layers)
        else:
            # RoBERTa counts positions from the id after the padding's.
            first = config.padding_token + 1
            own = bert_weights(published, config.layers, slice(first, first + config.context_length))
            own["type_embedding"] = published[TOKEN_TYPES][0]
        for ours, theirs in _PROJECTIONS[config.projection].items():
            own[f"projection.{ours}"] = tensors[f"proj.{theirs}"]
    except KeyError as error:
        raise WeightsError(
            f"the weights have no `text.{error.args[0]}`: name the architecture that they belong to"
        ) from error
    return own


def _nllb_weights(published: Mapping[str, Tensor], layers: int) -> dict[str, Tensor]:
    own = {"token_embedding.weight": published["embed_tokens.weight"]}
    for kind in ("weight", "bias"):
        own[f"transformer.norm.{kind}"] = published[f"layer_norm.{kind}"]
    queries = [f"self_attn.{part}_proj" for part in "qkv"]
    return own | _blocks(published, "layers", layers, _NLLB_BLOCK, queries)


def _blocks(
    published: Mapping[str, Tensor], prefix: str, layers: int, names: Mapping[str, str], queries: list[str]
) -> dict[str, Tensor]:
    own: dict[str, Tensor] = {}
    for layer in range(layers):
        theirs, ours = f"{prefix}.{layer}", f"transformer.layers.{layer}"
        for kind in ("weight", "bias"):
            own[f"{ours}.self_attn.in_proj_{kind}"] = torch.cat(
                [published[f"{theirs}.{query}.{kind}"] for query in queries]
            )
            for name, their_name in names.items():
                own[f"{ours}.{name}.{kind}"] = published[f"{theirs}.{their_name}.{kind}"]
    return own
