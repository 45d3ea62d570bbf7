"""The sentence encoder against BERT's formula written out."""

import pytest
import torch
from torch.nn import functional

from sigrl.model.config import SentenceEncoderConfig
from sigrl.model.sentence_encoder import SentenceEncoder

CONFIG = SentenceEncoderConfig(vocab_size=50, width=16, layers=2, heads=4, feed_forward=32, context_length=10)


@pytest.fixture
def encoder():
    encoder = SentenceEncoder(CONFIG, embed_dim=6).double().eval()
    torch.nn.init.normal_(encoder.position_embedding)
    return encoder


def plain_encoder(encoder: SentenceEncoder, ids: torch.Tensor) -> torch.Tensor:
    """One text [L] without padding -> [D]."""
    hidden = encoder.embedding_norm(encoder.token_embedding(ids) + encoder.position_embedding[: len(ids)])
    for block in encoder.transformer.layers:
        attention = block.self_attn
        query, key, value = (
            functional.linear(hidden, attention.in_proj_weight, attention.in_proj_bias)
            .view(len(ids), 3, CONFIG.heads, -1)
            .permute(1, 2, 0, 3)
        )
        weights = (query @ key.mT / query.shape[-1] ** 0.5).softmax(-1)
        mixed = (weights @ value).transpose(0, 1).flatten(1)
        hidden = block.norm1(hidden + attention.out_proj(mixed))
        hidden = block.norm2(hidden + block.linear2(functional.gelu(block.linear1(hidden))))
    return encoder.projection(functional.normalize(hidden.mean(0), dim=-1))


@pytest.mark.parametrize("mode", ["train", "eval", "inference"])
def test_encoder_matches_the_bert_formula_and_ignores_padding(encoder, mode):
    texts = [torch.randint(1, 50, (length,)) for length in (3, 10, 2)]
    expected = torch.stack([plain_encoder(encoder, ids) for ids in texts])
    padded = torch.nn.utils.rnn.pad_sequence(texts, batch_first=True)
    encoder.train(mode == "train")
    # In inference PyTorch takes another, fused path through the blocks.
    with torch.inference_mode(mode == "inference"):
        torch.testing.assert_close(encoder(padded), expected, rtol=0, atol=1e-12)


def test_every_parameter_gets_a_gradient(encoder):
    encoder(torch.randint(1, 50, (2, 10))).square().sum().backward()
    assert [name for name, parameter in encoder.named_parameters() if parameter.grad is None] == []


def test_width_not_divisible_by_heads_is_rejected():
    with pytest.raises(ValueError, match="5 heads"):
        SentenceEncoderConfig(width=16, heads=5)
