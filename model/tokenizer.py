"""Converts texts to token ids. Imports without torch."""

import html
import string
from collections.abc import Callable, Sequence
from pathlib import Path

import ftfy
import numpy as np
from tokenizers import Tokenizer as FastTokenizer

from sigrl.model.config import TokenizerConfig


class SentenceTokenizer:
    """A `tokenizer.json` (WordPiece and similar), with padding and truncation.

    It covers any text: a word outside the table is split into pieces.
    """

    def __init__(self, definition: bytes, context_length: int) -> None:
        """`definition` is the content of a `tokenizer.json`; texts are truncated to `context_length` tokens.

        Raises ValueError when it is invalid, or returns no tokens for an empty text.
        """
        self.definition = definition
        self._tokenizer = _read(definition)
        self._tokenizer.enable_truncation(context_length)
        self._tokenizer.enable_padding(pad_id=0)
        # A text of which the normaliser drops every character has only special tokens, and the mean needs at
        # least one.
        if not self._tokenizer.encode("").ids:
            raise ValueError("tokenizer.json adds no special tokens: an empty text has no token at all")

    @property
    def vocab_size(self) -> int:
        """One more than the largest token id."""
        return 1 + max(self._tokenizer.get_vocab().values())

    @classmethod
    def load(cls, path: Path, context_length: int) -> "SentenceTokenizer":
        """Reads a `tokenizer.json`."""
        return cls(path.read_bytes(), context_length)

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """Token ids [N, L], int64, padded with 0 to the longest of the texts."""
        encodings = self._tokenizer.encode_batch(list(texts))
        return np.array([encoding.ids for encoding in encodings], dtype=np.int64)


class PublishedTokenizer:
    """A `tokenizer.json` that truncates and pads by itself, after open_clip's cleaning of the texts.

    It serves the text towers that were published with one, and CLIP's in an engine without torch, which
    open_clip's own tokenizer needs.
    """

    def __init__(self, definition: bytes, config: TokenizerConfig) -> None:
        """Raises ValueError when `definition` is not a `tokenizer.json`."""
        self._tokenizer = _read(definition)
        self._clean = _CLEANING[config.clean]
        self._blanked = config.blanked_token

    @property
    def vocab_size(self) -> int:
        """One more than the largest token id."""
        return 1 + max(self._tokenizer.get_vocab().values())

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """Token ids [N, L], int64; L is the length in the definition, or that of the longest text."""
        encodings = self._tokenizer.encode_batch([self._clean(text) for text in texts])
        token_ids = np.array([encoding.ids for encoding in encodings], dtype=np.int64)
        if self._blanked is not None:
            token_ids[token_ids == self._blanked] = 0
        return token_ids


CLIP_TOKENIZER = TokenizerConfig(clean="lower")
"""The cleaning of CLIP's own tokenizer."""

_PUNCTUATION = str.maketrans("", "", string.punctuation)


def _repair(text: str) -> str:
    return " ".join(html.unescape(html.unescape(ftfy.fix_text(text))).split())


def _canonicalize(text: str) -> str:
    return " ".join(_repair(text).replace("_", " ").translate(_PUNCTUATION).lower().split())


_CLEANING: dict[str, Callable[[str], str]] = {
    "none": str,
    "whitespace": _repair,
    "lower": lambda text: _repair(text).lower(),
    "canonicalize": _canonicalize,
}
"""By `TokenizerConfig.clean`."""


def _read(definition: bytes) -> FastTokenizer:
    try:
        return FastTokenizer.from_buffer(definition)
    except Exception as error:  # the library raises nothing narrower
        raise ValueError(f"tokenizer.json cannot be read: {error}") from error
