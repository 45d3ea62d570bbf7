"""The text tower of a configuration, and its tokenizer."""

from torch import nn

from sigrl.model.config import BackboneConfig
from sigrl.model.open_clip_towers import build_clip_text_tower, clip_tokenizer
from sigrl.model.prompt_tokens import Tokenize
from sigrl.model.sentence_encoder import SentenceEncoder
from sigrl.model.text_encoder import TextEncoder
from sigrl.model.tokenizer import PublishedTokenizer, SentenceTokenizer


def build_text_tower(config: BackboneConfig) -> nn.Module:
    """Token ids [N, L] -> text features [N, D]; freshly initialised. Raises ValueError when it cannot be
    built."""
    if config.sentence_encoder is not None:
        return SentenceEncoder(config.sentence_encoder, config.embed_dim)
    if config.text_encoder is not None:
        return TextEncoder(config.text_encoder, config.embed_dim)
    tower: nn.Module = build_clip_text_tower(config)
    return tower


def build_tokenizer(config: BackboneConfig, definition: bytes | None) -> Tokenize:
    """The tokenizer of a configuration's text tower, without a learned prompt.

    `definition` is the content of the bundle's `tokenizer.json`; None without one. Raises ValueError when it
    is missing, superfluous, invalid, or does not fit the text tower.
    """
    if not config.has_tokenizer_file:
        if definition is not None:
            raise ValueError("CLIP's text tower has its own tokenizer: remove tokenizer.json")
        return clip_tokenizer(config)
    if definition is None:
        raise ValueError("this text tower needs a tokenizer.json")
    tokenizer: SentenceTokenizer | PublishedTokenizer
    if config.sentence_encoder is not None:
        tokenizer = SentenceTokenizer(definition, config.sentence_encoder.context_length)
    else:
        assert config.tokenizer is not None
        tokenizer = PublishedTokenizer(definition, config.tokenizer)
        _check_length(tokenizer, config)
    if tokenizer.vocab_size > config.token_rows:
        raise ValueError(
            f"the tokenizer knows {tokenizer.vocab_size:,} tokens, the text tower's table has "
            f"{config.token_rows:,} rows"
        )
    return tokenizer


def _check_length(tokenizer: PublishedTokenizer, config: BackboneConfig) -> None:
    """Raises ValueError unless every text gets the length that the text tower takes."""
    found, longest = tokenizer([""]).shape[1], tokenizer(["a " * 2000]).shape[1]
    # open_clip's text tower only takes texts of its full context length.
    shortest = config.context_length if config.text is not None else 1
    if not shortest <= found <= longest <= config.context_length:
        raise ValueError(
            f"tokenizer.json encodes a text as {found} to {longest} tokens, which does not fit the text tower"
        )
