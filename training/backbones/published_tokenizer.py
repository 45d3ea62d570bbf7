"""The `tokenizer.json` that was published with a text tower, made ready for a bundle."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, normalizers, processors

from sigrl.model.config import BackboneConfig
from sigrl.model.manifest import TOKENIZER
from sigrl.training.backbones.weight_files import WeightsError

SETTINGS = "tokenizer_config.json"
"""Names the special tokens."""
NLLB_LANGUAGE = "eng_Latn"
"""The language that open_clip tells NLLB's texts are in, unless it is told another."""


def add_tokenizer(
    backbone: BackboneConfig, folder: Path, *, strip_separator: bool = False, lower_case: bool = False
) -> tuple[BackboneConfig, bytes]:
    """The configuration with the special tokens of `tokenizer.json` in `folder`, and the file's content with
    the padding and truncation of the tower's training.

    `strip_separator` is open_clip's `strip_sep_token`; `lower_case` puts all texts in lower case. Raises
    WeightsError when a file is missing or cannot be read.
    """
    assert backbone.tokenizer is not None
    settings = _read_settings(folder)
    try:
        tokenizer = Tokenizer.from_buffer((folder / TOKENIZER).read_bytes())
    except Exception as error:  # the library raises nothing narrower
        raise WeightsError(
            f"{folder / TOKENIZER} cannot be read ({error}): put the {TOKENIZER} that was published with the "
            "text tower there"
        ) from error
    padding = _token(tokenizer, settings, "pad_token", folder)
    tokenizer.no_padding()
    tokenizer.no_truncation()
    if backbone.text_encoder is not None and backbone.text_encoder.kind == "nllb":
        _begin_with_language(tokenizer, _token(tokenizer, settings, "eos_token", folder))
    if lower_case:
        parts = [] if tokenizer.normalizer is None else [tokenizer.normalizer]
        tokenizer.normalizer = normalizers.Sequence([normalizers.Lowercase(), *parts])
    tokenizer.enable_truncation(backbone.context_length)
    # A text encoder attends to no padding, so that the longest text of a batch can decide.
    length = None if backbone.text is None else backbone.context_length
    direction = settings.get("padding_side", "right")
    tokenizer.enable_padding(direction=direction, pad_id=padding, length=length)
    changes: dict[str, Any] = {}
    if strip_separator:
        blanked = _token(tokenizer, settings, "sep_token", folder)
        changes["tokenizer"] = backbone.tokenizer.model_copy(update={"blanked_token": blanked})
    if backbone.text_encoder is not None:
        changes["text_encoder"] = backbone.text_encoder.model_copy(update={"padding_token": padding})
    return backbone.model_copy(update=changes), tokenizer.to_str().encode()


def _begin_with_language(tokenizer: Tokenizer, end: int) -> None:
    """Texts as NLLB encodes them: the language, the text, the end."""
    language = tokenizer.token_to_id(NLLB_LANGUAGE)
    if language is None:
        raise WeightsError(f"{TOKENIZER} does not know the language {NLLB_LANGUAGE}: it is not NLLB's")
    last = tokenizer.id_to_token(end)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{NLLB_LANGUAGE} $A {last}", special_tokens=[(NLLB_LANGUAGE, language), (last, end)]
    )


def _read_settings(folder: Path) -> Mapping[str, Any]:
    try:
        settings = json.loads((folder / SETTINGS).read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsError(
            f"{folder / SETTINGS} cannot be read ({error}): this text tower has a tokenizer of its own; put "
            f"its {TOKENIZER} and {SETTINGS} there"
        ) from error
    if not isinstance(settings, Mapping):
        raise WeightsError(f"{folder / SETTINGS} is not a tokenizer's settings: download it again")
    return settings


def _token(tokenizer: Tokenizer, settings: Mapping[str, Any], kind: str, folder: Path) -> int:
    """The id of a special token, which the settings give as a text or as an object with `content`."""
    token = settings.get(kind)
    text = token.get("content") if isinstance(token, Mapping) else token
    number = tokenizer.token_to_id(text) if isinstance(text, str) else None
    if number is None:
        raise WeightsError(
            f"{folder / SETTINGS} names no `{kind}` that {TOKENIZER} knows: download both again"
        )
    return int(number)
