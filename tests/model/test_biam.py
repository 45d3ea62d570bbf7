"""BiAM's module and head: their formulas, their invariances, and the way to a bundle that serves."""

from dataclasses import replace

import numpy as np
import plain_forms
import pytest
import torch
from engine_bundles import NAMES, VOCABULARY
from torch.nn import functional

from sigrl.model.biam import BiLevelAttention, RegionContext
from sigrl.model.bundle import load_bundle
from sigrl.model.config import HeadConfig
from sigrl.model.features import ImageFeatures
from sigrl.model.heads import create_head
from sigrl.model.torch_engine import TorchEngine
from sigrl.model.vocabulary import Vocabulary

B, GRID, C, D, K = 3, (2, 3), 9, 20, 2
P = GRID[0] * GRID[1]


@pytest.fixture
def image_features():
    return ImageFeatures(
        torch.randn(B, D, dtype=torch.float64), torch.randn(B, P, D, dtype=torch.float64), GRID
    )


@pytest.fixture
def labels():
    return torch.randn(C, D, dtype=torch.float64)


@pytest.fixture(params=["published", "context"])
def form(request):
    return request.param


def make_head(form, trained=True, kind="biam"):
    head = create_head(HeadConfig(kind=kind, form=form, top_k=K), D).double().eval()
    if trained:
        torch.nn.init.normal_(head.attention.projection.weight, std=D**-0.5)
    return head


def score(head, image_features, labels):
    with torch.no_grad():
        return head.score(image_features, head.label_features(labels))


def unit_rms(features):
    return features / features.square().mean(-1, keepdim=True).sqrt()


def best_regions(scores):
    return scores.sort(dim=1).values[:, -K:].mean(1)


def test_attention_output_matches_the_formula(image_features):
    module = make_head("published").attention
    tokens, images = image_features.patch_tokens, image_features.image_embeddings
    features = plain_forms.bilevel_features(module, tokens, images, GRID)
    expected = tokens + torch.einsum("bpd,ed->bpe", features, module.projection.weight)
    ours = module(tokens, images, GRID)
    assert ours.shape == (B, P, D)
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-12)


def test_projecting_tokens_equals_projecting_labels_as_published(image_features, labels):
    """What is added to a token's dot product with a label is BiAM's, whose W maps the label."""
    module = make_head("published").attention
    tokens, images = image_features.patch_tokens, image_features.image_embeddings
    features = plain_forms.bilevel_features(module, tokens, images, GRID)
    published = torch.einsum("bpd,cd->bpc", features, functional.linear(labels, module.projection.weight.T))
    ours = (module(tokens, images, GRID) - tokens) @ labels.T
    torch.testing.assert_close(ours, published, rtol=0, atol=1e-12)


def test_published_form_matches_the_formula(image_features, labels):
    head = make_head("published")
    tokens = head.attention(image_features.patch_tokens, image_features.image_embeddings, GRID)
    expected = best_regions(tokens @ labels.T)
    torch.testing.assert_close(score(head, image_features, labels), expected, rtol=0, atol=1e-12)


def test_context_form_matches_the_formula(image_features, labels):
    head = make_head("context")
    tokens, images = unit_rms(image_features.patch_tokens), unit_rms(image_features.image_embeddings)
    local = functional.cosine_similarity(head.attention(tokens, images, GRID)[:, :, None], labels, dim=-1)
    matched = functional.cosine_similarity(images[:, None], labels, dim=-1)
    expected = 10 * matched + 10 * best_regions(local) - 5
    # The learned scale is the exponential of a logarithm in float32.
    torch.testing.assert_close(score(head, image_features, labels), expected, rtol=0, atol=1e-5)


def test_untrained_biam_head_scores_like_the_mkt_head(image_features, labels):
    ours, mkt = make_head("context", trained=False), make_head("context", trained=False, kind="mkt")
    torch.testing.assert_close(
        score(ours, image_features, labels), score(mkt, image_features, labels), rtol=0, atol=1e-12
    )
    published, mkt = make_head("published", trained=False), make_head("published", False, "mkt")
    local = mkt.local_scores(image_features, mkt.label_features(labels))
    assert torch.equal(score(published, image_features, labels), mkt.pool_patches(local))


def test_label_score_does_not_depend_on_other_labels(image_features, labels, form):
    head = make_head(form)
    whole = score(head, image_features, labels)
    for label in range(C):
        torch.testing.assert_close(score(head, image_features, labels[[label]])[:, 0], whole[:, label])
    torch.testing.assert_close(score(head, image_features, labels.flip(0)), whole.flip(1))


@pytest.mark.parametrize("training", [False, True])
def test_image_score_does_not_depend_on_the_batch(image_features, labels, form, training, monkeypatch):
    monkeypatch.setattr("sigrl.model.biam.ATTENTION_DROPOUT", 0.0)
    monkeypatch.setattr("sigrl.model.biam.SCENE_DROPOUT", 0.0)
    head = make_head(form).train(training)
    whole = score(head, image_features, labels)
    for number in range(B):
        one = ImageFeatures(
            image_features.image_embeddings[[number]], image_features.patch_tokens[[number]], GRID
        )
        torch.testing.assert_close(score(head, one, labels)[0], whole[number])


def test_context_form_ignores_embedding_norms(image_features, labels):
    head = make_head("context")
    louder = ImageFeatures(image_features.image_embeddings * 3, image_features.patch_tokens * 50, GRID)
    torch.testing.assert_close(score(head, louder, labels / 20), score(head, image_features, labels))


def test_every_attention_level_changes_the_output(image_features):
    module = make_head("published").attention
    tokens, images = image_features.patch_tokens, image_features.image_embeddings
    whole = module(tokens, images, GRID)
    assert (module(tokens, images.flip(0), GRID) - whole).abs().max() > 1e-3
    moved = tokens.clone()
    moved[:, -1] += 1
    # The first patch of the grid is no neighbour of the last: only attention and gate can tell it.
    assert (module(moved, images, GRID) - whole)[:, 0].abs().max() > 1e-3
    assert (module(tokens, images, (3, 2)) - whole).abs().max() > 1e-3


def test_every_parameter_gets_a_gradient_after_the_first_step(image_features, labels, form):
    head = make_head(form, trained=False).train()
    optimizer = torch.optim.SGD(head.parameters(), lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        head.score(image_features, head.label_features(labels)).square().sum().backward()
        optimizer.step()
    assert [name for name, parameter in head.named_parameters() if parameter.grad.abs().max() < 1e-9] == []


def test_attention_accepts_any_embedding_width():
    for embed_dim in (1, 8, 20, 512):
        module = BiLevelAttention(embed_dim)
        assert module(torch.randn(2, 4, embed_dim), torch.randn(2, embed_dim), (2, 2)).shape[2] == embed_dim
    assert module.fusion.in_features == 512
    with pytest.raises(ValueError, match="a width of 12 cannot be divided among 8 heads"):
        RegionContext(12)


def test_precomputed_rebuilt_tokens_are_used(image_features, labels, form):
    head = make_head(form)
    tokens = head.rebuilder()(image_features)
    kept = replace(image_features, patch_tokens=torch.zeros_like(tokens), rebuilt_tokens=tokens)
    torch.testing.assert_close(score(head, kept, labels), score(head, image_features, labels))


@pytest.mark.parametrize("name", ["biam", "biam-published"])
def test_engine_scores_match_the_saved_bundle(make, name, monkeypatch, set_budget):
    bundle = load_bundle(make(name))
    assert bundle.manifest.head.kind == "biam"
    assert bundle.model.head.attention.projection.weight.abs().max() > 0
    engine = TorchEngine.load(make(name), "cpu", precision="float32")
    pixels = np.random.default_rng(0).standard_normal((2, 3, 64, 64), dtype=np.float32)
    with torch.no_grad():
        features = bundle.model.backbone.encode_images(torch.from_numpy(pixels))
        expected = score(bundle.model.head, features, bundle.model.backbone.encode_labels(VOCABULARY.labels))
    images = engine.encode_images(pixels)
    monkeypatch.delattr(BiLevelAttention, "forward")  # once for all vocabularies
    for budget in (2**20, 1):
        set_budget(budget)
        ours = engine.score(images, engine.encode_labels(VOCABULARY))
        np.testing.assert_allclose(ours, expected.numpy(), atol=1e-4)
    alone = engine.score(images, engine.encode_labels(Vocabulary.from_names(NAMES[2:3])))
    np.testing.assert_allclose(alone[:, 0], ours[:, 2], atol=1e-4)
    assert engine.explain(images, engine.encode_labels(VOCABULARY)).shape == (2, len(NAMES), *images.grid)
