"""The tagclip head, against the published code's formulas, computed in `published_tagclip`."""

from dataclasses import replace

import numpy as np
import published_tagclip as published
import pytest
import torch

from sigrl.model import tagclip
from sigrl.model.attention_tower import encode_seeing
from sigrl.model.bundle import TaggingModel
from sigrl.model.config import BackboneConfig, HeadConfig
from sigrl.model.features import ImageFeatures, LabelFeatures
from sigrl.model.label_areas import boxes, crop
from sigrl.model.label_texts import named_by
from sigrl.model.vocabulary import Label

SIDE, PATCH, D, C, HEADS, SCALE = 64, 8, 16, 10, 2, 9.0
GRID = (SIDE // PATCH, SIDE // PATCH)
BACKGROUND = ("sky", "ground", "wall")
VISION = {"image_size": SIDE, "patch_size": PATCH, "width": 32, "head_width": 16, "layers": 12}
TEXT = {"context_length": 8, "width": 16, "heads": 1, "layers": 1}
HEAD = HeadConfig(kind="tagclip", form="published", context_labels=BACKGROUND)


@pytest.fixture(scope="module")
def model() -> TaggingModel:
    """In double precision, with weights large enough that attention and scores differ between patches."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(5)
        backbone = BackboneConfig(embed_dim=D, vision=VISION, text=TEXT, quick_gelu=True)
        made = TaggingModel(backbone, HEAD).double().eval().requires_grad_(False)
        for name, weight in made.backbone.visual.named_parameters():
            if "in_proj_weight" in name:
                weight.normal_(0, 0.5)
            elif "bias" in name or "mlp" in name:
                weight.normal_(0, 0.15)
        made.head.scale.fill_(SCALE)
        made.head.context_label_embeddings.normal_()
    return made


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    """Four photographs of large blots."""
    coarse = torch.from_numpy(np.random.default_rng(1).standard_normal((4, 3, 5, 5)))
    return torch.nn.functional.interpolate(coarse, size=(SIDE, SIDE), mode="bicubic").numpy()


@pytest.fixture(scope="module")
def texts() -> np.ndarray:
    return np.random.default_rng(2).standard_normal((C, D))


def encoded(model: TaggingModel, pixels: np.ndarray) -> ImageFeatures:
    return replace(model.encode_images(torch.from_numpy(pixels)), pixel_values=pixels)


def label_features(texts: np.ndarray) -> LabelFeatures:
    return LabelFeatures(torch.from_numpy(texts), torch.from_numpy(texts))


def by_published_code(model: TaggingModel, pixels: np.ndarray, texts: np.ndarray, background: list[int]):
    weights = {name: tensor.numpy() for name, tensor in model.backbone.visual.state_dict().items()}
    every = np.concatenate([texts, model.head.context_label_embeddings.numpy()[background]])
    return [published.scores(each, weights, HEADS, every, len(texts), SCALE) for each in pixels]


def test_scores_and_maps_are_the_published_codes(model, pixels, texts) -> None:
    expected = by_published_code(model, pixels, texts, [0, 1, 2])
    features, labels = encoded(model, pixels), label_features(texts)
    found, maps = model.head.score(features, labels), model.head.local_scores(features, labels)
    assert sum(len(again) for _, _, again in expected) > 6
    for number, (scores, refined, again) in enumerate(expected):
        np.testing.assert_allclose(found[number], scores, rtol=0, atol=1e-9)
        np.testing.assert_allclose(maps[number], refined[:, :C], rtol=0, atol=1e-9)
        crops = tagclip.find_crops(torch.from_numpy(refined), C, GRID)
        assert sorted(crops) == again
        assert not again or np.abs(scores - refined.max(0)[:C]).max() > 1e-3


def test_a_photograph_has_the_same_scores_alone(model, pixels, texts) -> None:
    together = model.head.score(encoded(model, pixels), label_features(texts))
    alone = model.head.score(encoded(model, pixels[2:3]), label_features(texts))
    torch.testing.assert_close(alone[0], together[2], rtol=0, atol=1e-9)


def test_a_name_that_is_asked_for_is_no_background(model, pixels, texts) -> None:
    words = [
        Label(name="Sky"),
        Label(name="floor", synonyms=("ground",)),
        *(Label(name=f"{n}") for n in range(8)),
    ]
    asked = named_by(words, BACKGROUND)
    np.testing.assert_array_equal(asked[:3], [[1, 0, 0], [0, 1, 0], [0, 0, 0]])
    labels = replace(label_features(texts), evidence=asked)
    found = model.head.score(encoded(model, pixels), labels)
    for number, (scores, _, _) in enumerate(by_published_code(model, pixels, texts, [2])):
        np.testing.assert_allclose(found[number], scores, rtol=0, atol=1e-9)


def test_no_more_than_the_likeliest_labels_are_looked_at_again(
    model, pixels, texts, monkeypatch: pytest.MonkeyPatch
) -> None:
    features, labels = encoded(model, pixels), label_features(texts)
    every = model.head.score(features, labels)
    local = model.head.local_scores(features, labels).amax(dim=1)
    monkeypatch.setattr(tagclip, "MOST_CROPS", 1)
    some = model.head.score(features, labels)
    best = torch.zeros_like(local, dtype=torch.bool).scatter_(1, local.argmax(1, keepdim=True), value=True)
    torch.testing.assert_close(some, torch.where(best, every, local), rtol=0, atol=1e-12)
    assert (every - some).abs().max() > 1e-3


def test_the_image_embedding_is_the_towers_own(model, pixels) -> None:
    values = torch.from_numpy(pixels)
    expected = model.backbone.encode_images(values).image_embeddings
    torch.testing.assert_close(model.encode_images(values).image_embeddings, expected, rtol=0, atol=1e-9)
    everything = torch.ones(len(pixels), GRID[0] * GRID[1], dtype=torch.bool)
    seeing = encode_seeing(model.backbone.visual, values, everything)
    torch.testing.assert_close(seeing, expected, rtol=0, atol=1e-9)


def test_boxes_lie_around_patches_that_touch() -> None:
    random = np.random.default_rng(3)
    maps = random.random((200, 7, 5)) ** random.integers(1, 30, (200, 1, 1))
    expected = np.stack([published.boxed(each) for each in maps])
    np.testing.assert_array_equal(boxes(torch.from_numpy(maps)).numpy(), expected.astype(bool))


def test_maps_without_a_place_have_no_box_and_no_crop() -> None:
    flat = torch.full((1, 4, 4), 0.25)
    assert not boxes(flat).any()
    assert crop(flat[0]) is None
    in_the_corner = torch.zeros(4, 4)
    in_the_corner[3, 3] = 1
    assert crop(in_the_corner) is None


def test_photographs_without_pixels_are_refused(model, pixels, texts) -> None:
    with pytest.raises(ValueError, match="only features of it were kept"):
        model.head.score(model.encode_images(torch.from_numpy(pixels)), label_features(texts))


@pytest.mark.parametrize(
    "vision",
    [
        VISION | {"layers": 3},
        VISION | {"pool_type": "avg"},
        VISION | {"attentional_pool": True, "attn_pooler_heads": 2},
        VISION | {"qk_norm": True},
        {"image_size": 64, "patch_size": None, "width": 4, "head_width": 16, "layers": [1, 1, 1, 1]},
        {"image_size": 64, "timm_model_name": "test_efficientnet"},
    ],
)
def test_towers_without_its_attention_are_refused(vision: dict[str, object]) -> None:
    backbone = BackboneConfig(embed_dim=D, vision=vision, text=TEXT)
    with pytest.raises(ValueError, match="it needs an image tower of open_clip's, such as ViT-B-32"):
        TaggingModel(backbone, HEAD)


@pytest.mark.parametrize("changes", [{"form": "context"}, {"context_labels": ()}])
def test_it_needs_the_published_form_and_a_background(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="a tagclip head needs the form"):
        HeadConfig.model_validate(HEAD.model_dump() | changes)
