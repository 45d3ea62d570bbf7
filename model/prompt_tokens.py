"""Finds the prompt's own tokens in a text; in a learned prompt they have their own vectors. Imports without
torch."""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from sigrl.model.config import BackboneConfig

TokenIds = npt.NDArray[np.int64]
Tokenize = Callable[[Sequence[str]], TokenIds]


class PromptTokens:
    """A tokenizer that gives the prompt's own tokens, including the start and end tokens, ids after the token
    table, in their order; the end token has the highest id.

    The words of a label keep their ids, even if they also occur in the prompt. A text that does not begin and
    end like the prompt (a label's own prompt, a truncated text) keeps all of its ids.
    """

    def __init__(self, tokenize: Tokenize, prompt: str, table_rows: int) -> None:
        """`tokenize` returns ids [N, L], padded with 0; the table has `table_rows` rows."""
        self._tokenize = tokenize
        self._rows = table_rows
        before, _, rest = prompt.partition("{label}")
        after = rest.rpartition("{label}")[2]
        empty, whole = _trimmed(tokenize([""])[0]), _trimmed(tokenize([prompt])[0])
        starts = _common(empty, whole)
        ends = len(empty) - starts
        self._before = _trimmed(tokenize([before])[0])
        self._before = self._before[: len(self._before) - ends]
        self._after = _trimmed(tokenize([after])[0])[starts:]

    @property
    def replaced(self) -> TokenIds:
        """The prompt's own tokens [n], by their ids in the table."""
        return np.concatenate([self._before, self._after])

    def __call__(self, texts: Sequence[str]) -> TokenIds:
        """Token ids [N, L]."""
        token_ids = self._tokenize(texts)
        learned = self._rows + np.arange(len(self.replaced))
        first, last = len(self._before), len(self._after)
        for row in token_ids:
            text = _trimmed(row)
            if len(text) < first + last:
                continue
            beginning, end = text[:first], text[len(text) - last :]
            if np.array_equal(beginning, self._before) and np.array_equal(end, self._after):
                beginning[:], end[:] = learned[:first], learned[first:]
        return token_ids


def with_prompt(tokenize: Tokenize, config: BackboneConfig) -> Tokenize:
    """The tokenizer of a backbone, given that of its text tower."""
    if not config.learned_prompt:
        return tokenize
    return PromptTokens(tokenize, config.prompts[0], config.token_rows)


def _trimmed(token_ids: TokenIds) -> TokenIds:
    """A view without padding. No text ends with token 0: CLIP's `!` has that id, but the end token
    follows."""
    return np.trim_zeros(token_ids, "b")


def _common(one: TokenIds, other: TokenIds) -> int:
    """Length of the common prefix."""
    length = min(len(one), len(other))
    return int(np.cumprod(one[:length] == other[:length]).sum())
