"""The towers: ViT, timm's convolutional and timm's ViT; CLIP's text tower and the sentence encoder."""

import pytest
import torch
from torch.nn import functional

from sigrl.model.backbone import Backbone
from sigrl.model.config import BackboneConfig, SentenceEncoderConfig
from sigrl.model.vocabulary import Label

D = 24
CLIP_VIT = {"image_size": 64, "patch_size": 16, "width": 32, "head_width": 16, "layers": 2}
CLIP_TEXT = {"width": 8, "heads": 1, "layers": 1}
SENTENCE = SentenceEncoderConfig(
    vocab_size=87, width=16, layers=2, heads=2, feed_forward=32, context_length=32
)
TOWERS = {
    "vit": CLIP_VIT,
    "vit-avg": CLIP_VIT | {"pool_type": "avg"},
    "vit-norm-after-pool": CLIP_VIT | {"final_ln_after_pool": True},
    "vit-attention": CLIP_VIT | {"attentional_pool": True, "attn_pooler_heads": 2, "attn_pooler_queries": 3},
    "clip-resnet": {"layers": [1, 1, 1, 1], "width": 8, "image_size": 64},
    "conv": {"timm_model_name": "test_efficientnet"},
    "conv-classifier": {"timm_model_name": "test_efficientnet", "timm_proj": ""},
    "conv-mlp": {"timm_model_name": "test_efficientnet", "timm_proj": "mlp"},
    "convnext": {"timm_model_name": "test_convnext", "timm_pool": ""},
    "timm-vit-avg": {"timm_model_name": "test_vit", "timm_pool": "avg"},
    "timm-vit-token": {"timm_model_name": "test_vit", "timm_pool": "token"},
    "timm-vit-map": {"timm_model_name": "test_vit", "timm_pool": "map", "timm_proj": ""},
}


@pytest.fixture
def make(tokenizer_definition):
    """Image tower -> backbone with the sentence encoder."""

    def make(tower: str | dict, **options) -> Backbone:
        vision = TOWERS[tower] if isinstance(tower, str) else tower
        config = BackboneConfig(embed_dim=D, vision=vision, sentence_encoder=SENTENCE, **options)
        return Backbone(config, tokenizer_definition).eval()

    return make


def pixels(backbone: Backbone, batch: int = 2) -> torch.Tensor:
    timm_vit = "test_vit" in str(backbone.config.vision)
    side = 160 if timm_vit else 64
    return torch.randn(batch, 3, side, side, dtype=next(backbone.parameters()).dtype)


@pytest.mark.parametrize("tower", TOWERS)
def test_image_features_have_expected_shapes_and_match_open_clip(make, tower):
    backbone = make(tower).double()
    images = pixels(backbone)
    features = backbone.encode_images(images)
    patches = features.grid[0] * features.grid[1]
    assert features.image_embeddings.shape == (2, D)
    assert features.patch_tokens.shape == (2, patches, D)
    assert features.rebuilt_tokens is None
    published = backbone.visual(images)
    published = published[0] if isinstance(published, tuple) else published
    torch.testing.assert_close(features.image_embeddings, published, rtol=0, atol=1e-12)


@pytest.mark.parametrize("tower", TOWERS)
def test_image_features_do_not_depend_on_the_batch(make, tower):
    backbone = make(tower).double()
    images = pixels(backbone, 3)
    whole, alone = backbone.encode_images(images), backbone.encode_images(images[1:2])
    torch.testing.assert_close(alone.image_embeddings[0], whole.image_embeddings[1], rtol=0, atol=1e-12)
    torch.testing.assert_close(alone.patch_tokens[0], whole.patch_tokens[1], rtol=0, atol=1e-12)


@pytest.mark.parametrize("tower", ["vit-avg", "conv", "conv-classifier", "timm-vit-avg"])
def test_mean_of_patch_tokens_equals_average_pooled_embedding(make, tower):
    backbone = make(tower).double()
    features = backbone.encode_images(pixels(backbone))
    if tower == "timm-vit-avg":  # the norm comes after the pool there, so the mean is another
        backbone.visual.trunk.fc_norm = torch.nn.Identity()
        features = backbone.encode_images(pixels(backbone))
    torch.testing.assert_close(features.patch_tokens.mean(1), features.image_embeddings, rtol=0, atol=1e-12)


@pytest.mark.parametrize("tower", ["conv", "conv-mlp", "convnext"])
def test_conv_patch_token_equals_projection_of_a_constant_feature_map(make, tower):
    backbone = make(tower).double()
    images = pixels(backbone)
    feature_map = backbone.visual.trunk.forward_features(images)
    assert backbone.encode_images(images).grid == tuple(feature_map.shape[2:])
    for row, column in ((0, 0), (1, 0), (0, 1)):
        constant = feature_map[:, :, row, column, None, None].expand_as(feature_map)
        expected = backbone.visual.head(backbone.visual.trunk.forward_head(constant))
        patch = row * feature_map.shape[3] + column
        token = backbone.encode_images(images).patch_tokens[:, patch]
        torch.testing.assert_close(token, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("tower", ["timm-vit-avg", "timm-vit-token", "timm-vit-map"])
def test_timm_patch_token_equals_projection_of_identical_tokens(make, tower):
    backbone = make(tower).double()
    images = pixels(backbone)
    tokens = backbone.visual.trunk.forward_features(images)
    expected = backbone.visual.head(
        backbone.visual.trunk.forward_head(tokens[:, 8:9].expand_as(tokens).contiguous())
    )
    features = backbone.encode_images(images)
    assert features.grid == (10, 10)
    torch.testing.assert_close(features.patch_tokens[:, 7], expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("tower", "last"), [("vit-attention", "transformer"), ("clip-resnet", "layer4")])
def test_attention_pool_patch_token_depends_only_on_its_own_position(make, tower, last):
    """If all positions are the same, attention makes no difference, and each token is the image embedding."""
    backbone = make(tower).double()
    if tower == "clip-resnet":
        torch.nn.init.zeros_(backbone.visual.attnpool.positional_embedding)
    alike = []

    def same(_module, _inputs, output):
        place = output[:, 1:2] if output.ndim == 3 else output[:, :, :1, :1]
        alike.append(place.expand_as(output))
        return alike[-1]

    backbone.visual.get_submodule(last).register_forward_hook(same)
    features = backbone.encode_images(pixels(backbone))
    assert alike
    expected = features.image_embeddings[:, None].expand_as(features.patch_tokens)
    torch.testing.assert_close(features.patch_tokens, expected, rtol=0, atol=1e-12)


def test_vit_patch_tokens_are_normalized_then_projected(make):
    for tower in ("vit", "vit-norm-after-pool"):
        backbone = make(tower).double()
        torch.nn.init.normal_(backbone.visual.ln_post.weight)
        images = pixels(backbone)
        features = backbone.encode_images(images)
        visual = backbone.visual
        hidden = visual.ln_post(visual.transformer(visual._embeds(images)))
        torch.testing.assert_close(features.patch_tokens, hidden[:, 1:] @ visual.proj, rtol=0, atol=1e-12)
        torch.testing.assert_close(features.image_embeddings, hidden[:, 0] @ visual.proj, rtol=0, atol=1e-12)


def test_quick_gelu_changes_the_embeddings(make):
    images = torch.randn(1, 3, 64, 64)
    plain, quick = make("vit"), make("vit", quick_gelu=True)
    quick.load_state_dict(plain.state_dict())
    assert not torch.equal(
        plain.encode_images(images).image_embeddings, quick.encode_images(images).image_embeddings
    )


def test_all_parameters_of_both_towers_get_gradients(make):
    backbone = make("conv").train()
    features = backbone.encode_images(pixels(backbone, 4))
    labels = backbone.encode_labels([Label(name="dog"), Label(name="cat", synonyms=("kitten",))])
    (features.patch_tokens @ labels.T).square().sum().backward()
    assert [name for name, parameter in backbone.named_parameters() if parameter.grad is None] == []


def test_clip_text_tower_matches_open_clip():
    backbone = Backbone(BackboneConfig(embed_dim=D, vision=CLIP_VIT, text=CLIP_TEXT)).eval()
    ids = backbone.tokenize(["a dog", "a cat " * 100])
    assert ids.shape == (2, 77)
    assert ids[0, 0] == ids[1, 0] == 49406
    assert ids[1, -1] == 49407
    features = backbone.encode_texts(torch.from_numpy(ids))
    assert torch.equal(features, backbone.text(torch.from_numpy(ids)))
    torch.testing.assert_close(
        backbone.encode_labels([Label(name="dog", prompts=("a {label}",))]), features[:1], rtol=0, atol=1e-6
    )


def encode_one(backbone: Backbone, text: str) -> torch.Tensor:
    return backbone.encode_texts(torch.from_numpy(backbone.tokenize([text])))[0]


def test_label_with_one_text_uses_that_texts_embedding(make):
    backbone = make("conv", prompts=("There is a {label} in the scene",)).double()
    labels = [Label(name="dog"), Label(name="cat", prompts=("the {label}",)), Label(name="x" * 150)]
    expected = [
        encode_one(backbone, text)
        for text in ("There is a dog in the scene", "the cat", f"There is a {'x' * 150} in the scene")
    ]
    torch.testing.assert_close(backbone.encode_labels(labels), torch.stack(expected), rtol=0, atol=1e-12)


def test_label_with_several_texts_averages_their_unit_embeddings(make):
    backbone = make("conv", prompts=("a {label}", "the {label}")).double()
    (embedding,) = backbone.encode_labels([Label(name="dog", synonyms=("hound",))])
    texts = ("a dog", "the dog", "a hound", "the hound")
    expected = torch.stack([functional.normalize(encode_one(backbone, text), dim=-1) for text in texts])
    torch.testing.assert_close(embedding, expected.mean(0), rtol=0, atol=1e-12)


def test_batched_labels_keep_their_order_and_report_progress(make, monkeypatch):
    monkeypatch.setattr("sigrl.model.label_texts.TEXT_BATCH", 4)
    backbone = make("conv", prompts=("a {label}", "the photo of {label}")).double()
    labels = [Label(name="dog " * (number % 5) + f"cat{number}") for number in range(11)]
    seen: list[int] = []
    embeddings = backbone.encode_labels(labels, seen.append)
    assert seen == sorted(seen)
    assert len(seen) == 6
    assert seen[-1] == 11
    for row, label in enumerate(labels):
        alone = backbone.encode_labels([label])[0]
        torch.testing.assert_close(embeddings[row], alone, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("vision", "message"),
    [
        (CLIP_VIT | {"attentional_pool": "cascade"}, "two attention pools"),
        (CLIP_VIT | {"pool_type": "none"}, "two attention pools, or with none"),
        ({"timm_model_name": "test_efficientnet", "timm_pool": "abs_attn", "timm_proj": ""}, "by attention"),
        ({"timm_model_name": "no_such_model"}, "cannot be built.*no_such_model"),
        ({"colour": "red"}, "cannot be built.*colour"),
    ],
)
def test_image_towers_without_patch_tokens_are_rejected(make, vision, message):
    with pytest.raises(ValueError, match=message):
        make(vision)


def test_mismatched_text_tower_and_tokenizer_are_rejected(tokenizer_definition):
    clip = BackboneConfig(embed_dim=D, vision=CLIP_VIT, text=CLIP_TEXT)
    with pytest.raises(ValueError, match=r"remove tokenizer\.json"):
        Backbone(clip, tokenizer_definition)
    with pytest.raises(ValueError, match="100 rows"):
        Backbone(clip.model_copy(update={"text": CLIP_TEXT | {"vocab_size": 100}}))
    with pytest.raises(ValueError, match="cannot be built"):
        Backbone(clip.model_copy(update={"text": {"size": 1}}))
    sentence = BackboneConfig(embed_dim=D, vision=CLIP_VIT, sentence_encoder=SENTENCE)
    with pytest.raises(ValueError, match=r"needs a tokenizer\.json"):
        Backbone(sentence)
    small = SENTENCE.model_copy(update={"vocab_size": 86})
    with pytest.raises(ValueError, match="87 tokens"):
        Backbone(sentence.model_copy(update={"sentence_encoder": small}), tokenizer_definition)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"text": None}, "exactly one text tower"),
        ({"sentence_encoder": SENTENCE}, "exactly one text tower"),
        ({"text": CLIP_TEXT | {"hf_tokenizer_name": "somebody/t5"}}, "`hf_tokenizer_name` fetches"),
        ({"vision": {"timm_model_name": "test_vit", "timm_model_pretrained": True}}, "fetches from a hub"),
        ({"vision": {"timm_model_name": "hf-hub:somebody/model"}}, "not one of timm's own"),
        ({"prompts": ("a photo",)}, "needs the place"),
        ({"prompts": ()}, "at least 1"),
    ],
)
def test_unsafe_or_contradictory_configurations_are_rejected(options, message):
    with pytest.raises(ValueError, match=message):
        BackboneConfig(**{"embed_dim": D, "vision": CLIP_VIT, "text": CLIP_TEXT} | options)
