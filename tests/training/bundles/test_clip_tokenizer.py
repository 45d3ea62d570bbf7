"""CLIP's tokenizer without open_clip returns open_clip's ids."""

import numpy as np
import pytest

from sigrl.model.backbone import Backbone
from sigrl.model.config import BackboneConfig
from sigrl.model.tokenizer import CLIP_TOKENIZER, PublishedTokenizer
from sigrl.model.vocabulary import Vocabulary
from sigrl.service.vocabularies import builtin as vocabularies
from sigrl.training.bundles.clip_tokenizer import clip_tokenizer_definition

ODD = (
    "",
    " \t\n",
    "DON'T we'll it's they've I'm he'd you're 's",
    "naïve café, l\u2019été “quoted” ﬁn",
    "&amp;amp; &lt;b&gt;",
    "schön straße İstanbul ΣΑΣ ŉ",
    "日本語のラベル नमस्ते العربية สวัสดี",
    "🐶🐕‍🦺 🏴󠁧󠁢󠁥󠁮󠁧󠁿",
    "Ⅷ ½ ² 123456 1st",
    "mojibake: Ã©",
    "a\u00adb\u200bc\u2028d",
    "#hashtag_@x ... -- </w> dog</w>",
    "<start_of_text> dog <end_of_text>",
    "x" * 300,
    "dog " * 200,
)


@pytest.fixture(scope="module")
def published():
    config = BackboneConfig(
        embed_dim=8,
        vision={"image_size": 32, "patch_size": 32, "width": 8, "head_width": 8, "layers": 1},
        text={"width": 8, "heads": 1, "layers": 1},
    )
    return Backbone(config).tokenize


@pytest.fixture(scope="module")
def ours():
    return PublishedTokenizer(clip_tokenizer_definition(77), CLIP_TOKENIZER)


def check(ours, published, texts):
    ids = ours(texts)
    assert ids.dtype == np.int64
    assert ids.shape == (len(texts), 77)
    wrong = [text for text, same in zip(texts, (ids == published(texts)).all(1), strict=True) if not same]
    assert wrong == []


def test_token_ids_of_odd_texts_match_open_clip(ours, published):
    check(ours, published, ODD)


@pytest.mark.parametrize("name", ["default", "coco80", "voc20"])
def test_token_ids_of_built_in_vocabularies_match_open_clip(ours, published, name):
    vocabulary: Vocabulary = vocabularies.builtin(name)
    templates = ("{label}", "There is a {label} in the scene")
    check(ours, published, [text for label in vocabulary.labels for text in label.texts(templates)])
