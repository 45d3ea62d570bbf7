"""A learned prompt: its own tokens have vectors of their own, the words of a label stay what they are."""

import pytest
import torch
from engine_bundles import CLIP
from open_clip.tokenizer import SimpleTokenizer

from sigrl.model.backbone import Backbone
from sigrl.model.prompt_tokens import PromptTokens
from sigrl.model.tokenizer import SentenceTokenizer
from sigrl.model.vocabulary import Label

PROMPT = "There is a {label} in the scene"
LABELS = [Label(name=name) for name in ("dog", "in the scene", "red cat")]


@pytest.fixture
def plain(tokenizer_definition):
    return SentenceTokenizer(tokenizer_definition, context_length=16)


@pytest.fixture
def tokens(plain):
    return PromptTokens(plain, PROMPT, table_rows=100)


@pytest.fixture(params=["clip", "sentences"])
def make_backbone(request, tiny_description, tokenizer_definition):
    """A backbone with a learned prompt whose vectors are the table's, and the same without."""
    config, tokenizer = tiny_description.backbone, tokenizer_definition
    if request.param == "clip":
        config, tokenizer = CLIP, None

    def make(**changes):
        torch.manual_seed(0)
        plain = Backbone(config.model_copy(update=changes), tokenizer).eval()
        learned = Backbone(config.model_copy(update={**changes, "learned_prompt": True}), tokenizer).eval()
        learned.load_state_dict(plain.state_dict(), strict=False)
        table = learned.text.token_embedding
        with torch.no_grad():
            table.prompt.copy_(table.weight[torch.from_numpy(learned.prompt_tokens.replaced)])
        return learned, plain

    return make


def test_only_prompt_tokens_get_new_ids_after_the_vocabulary(tokens, plain):
    texts = [PROMPT.replace("{label}", label.name) for label in LABELS]
    ids, before = tokens(texts), plain(texts)
    assert ids[0].tolist() == [100, 101, 102, 103, 11, 104, 105, 106, 107, 0, 0][: ids.shape[1]]
    assert ids[1].tolist() == [100, 101, 102, 103, *before[1, 4:7], 104, 105, 106, 107]
    assert ids.max() == 107
    assert plain(["There is a in the scene"])[0].tolist() == tokens.replaced.tolist()


@pytest.mark.parametrize(
    "text", ["", "dog", "There is a dog in the photo", "a dog in the scene", "dog " * 30]
)
def test_text_that_does_not_match_the_prompt_keeps_its_ids(tokens, plain, text):
    assert tokens([text]).tolist() == plain([text]).tolist()


def test_prompt_without_words_has_only_start_and_end_tokens(plain):
    assert PromptTokens(plain, "{label}", 100)(["dog", "red cat"]).tolist() == [
        [100, 11, 101, 0],
        [100, 13, 12, 101],
    ]


def test_text_between_two_label_placeholders_keeps_its_ids(plain):
    (ids,) = PromptTokens(plain, "the {label} of {label} in", 100)(["the dog of dog in"])
    assert ids.tolist() == [100, 101, 11, 10, 11, 102, 103]


def test_clip_end_of_text_token_keeps_the_highest_id():
    tokenizer = SimpleTokenizer()
    tokens = PromptTokens(lambda texts: tokenizer(list(texts)).numpy(), "a photo of a {label}.", 49408)
    ids = tokens(["a photo of a dog!.", "a photo of a dog.", "a photo of a U.S.."])
    assert (ids.argmax(1) == [7, 7, (ids[2] > 0).sum() - 1]).all()
    assert ids[1].tolist()[:8] == [49408, 49409, 49410, 49411, 49412, 1929, 49413, 49414]
    assert (ids[2] < 49408).all()


def test_untrained_learned_prompt_equals_the_plain_prompt(make_backbone):
    learned, plain = make_backbone()
    torch.testing.assert_close(learned.encode_labels(LABELS), plain.encode_labels(LABELS), rtol=0, atol=1e-6)


def test_learned_prompt_affects_all_labels_without_their_own_prompt(make_backbone):
    learned, plain = make_backbone()
    labels = [*LABELS, Label(name="dog", prompts=("a photo of the {label}",))]
    with torch.no_grad():
        torch.nn.init.normal_(learned.text.token_embedding.prompt)
    moved = (learned.encode_labels(labels) - plain.encode_labels(labels)).abs().amax(1)
    assert (moved[:-1] > 1e-3).all()
    assert moved[-1] < 1e-6


def test_learned_prompt_gets_gradients(make_backbone):
    learned, _ = make_backbone()
    learned.encode_labels(LABELS).square().sum().backward()
    assert (learned.text.token_embedding.prompt.grad.abs().amax(1) > 0).all()


def test_learning_several_prompts_is_rejected(make_backbone):
    learned, _ = make_backbone()
    values = learned.config.model_dump() | {"prompts": (PROMPT, "a {label}")}
    with pytest.raises(ValueError, match="only a single prompt can be learned"):
        type(learned.config).model_validate(values)


def test_text_tower_with_eos_pooling_cannot_learn_a_prompt():
    config = CLIP.model_copy(update={"text": {**CLIP.text, "pool_type": "eos"}, "learned_prompt": True})
    with pytest.raises(ValueError, match="cannot learn a prompt"):
        Backbone(config)
