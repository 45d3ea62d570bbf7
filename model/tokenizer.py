"""Texts to token ids. Imports without torch."""

import html
from collections.abc import Sequence
from pathlib import Path

import ftfy
import numpy as np
from tokenizers import Tokenizer as FastTokenizer


class SentenceTokenizer:
    """A `tokenizer.json` (WordPiece and the like), with padding and truncation.

    Any text has tokens: a word outside the table falls apart into pieces of it.
    """

    def __init__(self, definition: bytes, context_length: int) -> None:
        """`definition` is the content of a `tokenizer.json`; texts are cut at `context_length` tokens.

        Raises ValueError when it is not one, or gives an empty text no tokens.
        """
        self.definition = definition
        self._tokenizer = _read(definition)
        self._tokenizer.enable_truncation(context_length)
        self._tokenizer.enable_padding(pad_id=0)
        # A text of characters that the normaliser drops has these tokens only, and needs one to be averaged.
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
    """CLIP's byte-pair tokenizer, of a `tokenizer.json` that an ONNX export wrote: open_clip's needs torch.

    Texts are cleaned as open_clip cleans them (ftfy, HTML entities, whitespace, lower case).
    """

    def __init__(self, definition: bytes) -> None:
        """Raises ValueError when `definition` is no `tokenizer.json`."""
        self._tokenizer = _read(definition)

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """Token ids [N, L], int64, cut or padded to the length that the definition says."""
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
