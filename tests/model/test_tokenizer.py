"""The sentence tokenizer: any text has tokens, padded and cut."""

import json
import subprocess
import sys

import numpy as np
import pytest

from sigrl.model.tokenizer import CLIP_TOKENIZER, PublishedTokenizer, SentenceTokenizer


@pytest.fixture
def tokenizer(tokenizer_definition):
    return SentenceTokenizer(tokenizer_definition, context_length=8)


def test_token_ids_are_padded_with_zero_to_the_longest_text(tokenizer):
    ids = tokenizer(["dog", "The red dog!"])
    assert ids.dtype == np.int64
    assert ids.tolist() == [[2, 11, 3, 0, 0, 0], [2, 7, 13, 11, 1, 3]]


def test_unknown_word_is_split_into_word_pieces(tokenizer):
    ids = tokenizer(["zebra"])[0]
    assert len(ids) == 7
    assert 1 not in ids


def test_long_text_is_truncated_and_keeps_the_end_token(tokenizer):
    ids = tokenizer(["dog " * 500])
    assert ids.shape == (1, 8)
    assert ids[0, -1] == 3


def test_texts_without_known_characters_get_tokens(tokenizer):
    assert tokenizer(["", "\u200b"]).tolist() == [[2, 3], [2, 3]]
    assert (tokenizer(["日本"]) > 0).all()


def test_token_ids_do_not_depend_on_other_texts_in_the_batch(tokenizer):
    alone = tokenizer(["red dog"])[0]
    assert tokenizer(["the photo of the red cat", "red dog"])[1][: len(alone)].tolist() == alone.tolist()


def test_tokenizer_loads_from_a_file(tokenizer, tokenizer_definition, tmp_path):
    path = tmp_path / "tokenizer.json"
    path.write_bytes(tokenizer_definition)
    assert SentenceTokenizer.load(path, 8)(["a dog"]).tolist() == tokenizer(["a dog"]).tolist()
    assert tokenizer.vocab_size == 87


def test_invalid_tokenizer_definition_is_rejected():
    with pytest.raises(ValueError, match=r"tokenizer\.json cannot be read"):
        SentenceTokenizer(b"not JSON", 8)
    with pytest.raises(ValueError, match=r"tokenizer\.json cannot be read"):
        PublishedTokenizer(b"not JSON", CLIP_TOKENIZER)


def test_tokenizer_without_special_tokens_is_rejected(tokenizer_definition):
    definition = json.loads(tokenizer_definition) | {"post_processor": None}
    with pytest.raises(ValueError, match="no special tokens"):
        SentenceTokenizer(json.dumps(definition).encode(), 8)


def test_tokenizer_imports_without_torch():
    code = "import sys, sigrl.model.tokenizer; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
