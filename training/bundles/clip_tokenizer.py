"""CLIP's tokenizer as a `tokenizer.json`, for engines without open_clip."""

import sigrl.model.torchvision_cure  # noqa: F401 (before open_clip, which imports torchvision)

# isort: split
from open_clip.tokenizer import SimpleTokenizer
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, processors

PATTERN = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
WORD_END = "</w>"


def clip_tokenizer_definition(context_length: int) -> bytes:
    """The content of a `tokenizer.json` that returns the ids of open_clip's `SimpleTokenizer`, for texts
    cleaned as `sigrl.model.tokenizer.CLIP_TOKENIZER` says.

    Two kinds of text differ: a special token written right after a punctuation mark, and letters too new for
    the Unicode tables of the `tokenizers` library.
    """
    published = SimpleTokenizer(context_length=context_length)
    merges = sorted(published.bpe_ranks, key=published.bpe_ranks.__getitem__)
    tokenizer = Tokenizer(models.BPE(published.encoder, merges, end_of_word_suffix=WORD_END))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(f"(?i:{PATTERN})"), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    start, end = (published.decoder[number] for number in published.all_special_ids)
    tokenizer.add_special_tokens([start, end])
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{start} $A {end}",
        special_tokens=[(start, published.sot_token_id), (end, published.eot_token_id)],
    )
    tokenizer.enable_truncation(published.context_length)
    tokenizer.enable_padding(pad_id=0, length=published.context_length)
    definition: bytes = tokenizer.to_str().encode()
    return definition
