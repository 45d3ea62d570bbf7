"""Texts to token ids, for sentence encoders. Imports without torch."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer as FastTokenizer


class SentenceTokenizer:
    """A `tokenizer.json` (WordPiece and the like), with padding and truncation.

    Any text has tokens: a word outside the table falls apart into pieces of it.
    """

    def __init__(self, definition: bytes, context_length: int) -> None:
        """`definition` is the content of a `tokenizer.json`; texts are cut at `context_length` tokens."""
        self.definition = definition
        self._tokenizer = FastTokenizer.from_buffer(definition)
        self._tokenizer.enable_truncation(context_length)
        self._tokenizer.enable_padding(pad_id=0)

    @classmethod
    def load(cls, path: Path, context_length: int) -> "SentenceTokenizer":
        """Reads a `tokenizer.json`."""
        return cls(path.read_bytes(), context_length)

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """Token ids [N, L], int64, padded with 0 to the longest of the texts."""
        encodings = self._tokenizer.encode_batch(list(texts))
        return np.array([encoding.ids for encoding in encodings], dtype=np.int64)
