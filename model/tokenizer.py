"""Converts texts to token ids. Imports without torch."""

import html
from collections.abc import Sequence
from pathlib import Path

import ftfy
import numpy as np
from tokenizers import Tokenizer as FastTokenizer


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


class ClipTokenizer:
    """CLIP's byte-pair tokenizer from the `tokenizer.json` of an ONNX export, because open_clip's needs
    torch.

    Texts are cleaned as in open_clip (ftfy, HTML entities, whitespace, lower case).
    """

    def __init__(self, definition: bytes) -> None:
        """Raises ValueError when `definition` is not a `tokenizer.json`."""
        self._tokenizer = _read(definition)

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """Token ids [N, L], int64, truncated or padded to the length in the definition."""
        encodings = self._tokenizer.encode_batch([_clean(text) for text in texts])
        return np.array([encoding.ids for encoding in encodings], dtype=np.int64)


def _clean(text: str) -> str:
    text = html.unescape(html.unescape(ftfy.fix_text(text)))
    return " ".join(text.split()).lower()


def _read(definition: bytes) -> FastTokenizer:
    try:
        return FastTokenizer.from_buffer(definition)
    except Exception as error:  # the library raises nothing narrower
        raise ValueError(f"tokenizer.json cannot be read: {error}") from error
