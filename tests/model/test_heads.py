"""The heads: the context form against its formula, its invariances, and what each configuration builds."""

import math
from dataclasses import replace
from itertools import combinations

import plain_forms
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from sigrl.model.config import HeadConfig
from sigrl.model.features import ImageFeatures, LabelFeatures
from sigrl.model.heads import BiamHead, ClipHead, MktHead, SigRLHead, create_head

B, P, C, D, K = 3, 6, 9, 8, 5
CONTEXT = tuple(f"context {number}" for number in range(K))
VARIANTS = [
    {"kind": "clip"},
    {"kind": "mkt"},
    {"kind": "sigrl"},
    {"kind": "sigrl", "gmc": False},
    {"kind": "sigrl", "svfr": False},
    {"kind": "sigrl", "gmc": False, "svfr": False},
]


def name_variant(variant: dict) -> str:
    return "-".join([variant["kind"], *(f"no_{part}" for part in ("gmc", "svfr") if part in variant)])


def make_head(dtype=torch.float64, sharpness=4.0, **options):
    """A head whose softmaxes are far from flat, with its context set."""
    torch.manual_seed(1)
    config = HeadConfig(**{"top_k": 2, "context_labels": CONTEXT} | options)
    head = create_head(config, D).to(dtype).eval()
    with torch.no_grad():
        for name, parameter in head.named_parameters():
            if name.startswith(("svfr.", "graph.")):
                parameter.mul_(sharpness)
    if config.kind == "sigrl" and config.form == "context":
        head.set_context(torch.randn(K, D, dtype=dtype))
    return head


@pytest.fixture
def image_features():
    return ImageFeatures(
        torch.randn(B, D, dtype=torch.float64), torch.randn(B, P, D, dtype=torch.float64), (2, 3)
    )


@pytest.fixture
def labels():
    return torch.randn(C, D, dtype=torch.float64)


def unit_rms(features):
    return features / features.square().mean(-1, keepdim=True).sqrt()


@pytest.mark.parametrize("variant", VARIANTS, ids=name_variant)
def test_context_form_matches_the_formula(image_features, labels, variant):
    head = make_head(**variant)
    tokens, refined = image_features.patch_tokens, labels
    if variant["kind"] == "sigrl":
        context = unit_rms(head.context_label_embeddings)
        refined, refined_context = unit_rms(labels), context
        if head.graph is not None:
            refined = refined + head.gamma * plain_forms.label_graph(head.graph, refined, context)
            refined_context = context + head.gamma * plain_forms.label_graph(head.graph, context, context)
        if head.svfr is not None:
            tokens = plain_forms.reconstruction(head.svfr, unit_rms(tokens), context, refined_context, "mean")
    matched = functional.cosine_similarity(image_features.image_embeddings[:, None], refined, dim=-1)
    expected = head.log_global_scale.exp() * matched - 5
    if variant["kind"] != "clip":
        local = functional.cosine_similarity(tokens[:, :, None], refined, dim=-1)
        expected = expected + head.log_local_scale.exp() * local.sort(dim=1).values[:, -2:].mean(1)
    ours = head.score(image_features, head.label_features(labels))
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("variant", VARIANTS, ids=name_variant)
def test_label_score_does_not_depend_on_other_labels(image_features, labels, variant):
    head = make_head(**variant)
    with torch.no_grad():
        whole = head.score(image_features, head.label_features(labels))

    @settings(max_examples=25, deadline=None)
    @given(st.lists(st.integers(0, C - 1), min_size=1, max_size=2 * C))
    def chosen_labels_score_as_before(chosen):
        with torch.no_grad():
            score = head.score(image_features, head.label_features(labels[chosen]))
        torch.testing.assert_close(score, whole[:, chosen], rtol=0, atol=1e-12)

    chosen_labels_score_as_before()


def test_label_score_does_not_depend_on_other_labels_in_float32(image_features, labels):
    head = make_head(torch.float32)
    image_features = ImageFeatures(
        image_features.image_embeddings.float(), image_features.patch_tokens.float(), (2, 3)
    )
    with torch.no_grad():
        whole = head.score(image_features, head.label_features(labels.float()))
        for label in range(C):
            alone = head.score(image_features, head.label_features(labels[[label]].float()))
            torch.testing.assert_close(alone[:, 0], whole[:, label], rtol=0, atol=2e-5)


@pytest.mark.parametrize("variant", VARIANTS, ids=name_variant)
def test_image_score_does_not_depend_on_the_batch(image_features, labels, variant):
    head = make_head(**variant)
    label_features = head.label_features(labels)
    whole = head.score(image_features, label_features)
    one = ImageFeatures(image_features.image_embeddings[1:2], image_features.patch_tokens[1:2], (2, 3))
    torch.testing.assert_close(head.score(one, label_features), whole[1:2], rtol=0, atol=1e-12)


@pytest.mark.parametrize("variant", VARIANTS, ids=name_variant)
def test_context_form_ignores_embedding_norms(image_features, labels, variant):
    head = make_head(**variant)
    before = head.score(image_features, head.label_features(labels))
    louder = ImageFeatures(image_features.image_embeddings * 3, image_features.patch_tokens * 50, (2, 3))
    if variant["kind"] == "sigrl":
        head.set_context(head.context_label_embeddings * 7)
    after = head.score(louder, head.label_features(labels / 20))
    torch.testing.assert_close(after, before, rtol=0, atol=1e-11)


def test_requested_context_label_is_refined_as_in_the_context(labels):
    head = make_head()
    asked = head.label_features(torch.cat([labels, head.context_label_embeddings]))
    in_context = functional.normalize(asked.refined_context, dim=-1)
    torch.testing.assert_close(asked.refined[C:], in_context, rtol=0, atol=1e-13)


def test_refined_context_is_computed_where_label_features_lack_it(image_features, labels):
    head = make_head()
    features = head.label_features(labels)
    bare = LabelFeatures(features.label_embeddings, features.refined)
    torch.testing.assert_close(head.score(image_features, bare), head.score(image_features, features))


def test_graph_and_reconstruction_change_the_scores(image_features, labels):
    scores = [
        head.score(image_features, head.label_features(labels))
        for head in (make_head(**variant) for variant in VARIANTS[1:])
    ]
    without_both = scores.pop()
    torch.testing.assert_close(without_both, scores[0], rtol=0, atol=1e-12)  # is the mkt head
    for score, other in combinations(scores, 2):
        assert (score - other).abs().max() > 1e-3


@pytest.mark.parametrize("form", ["published", "context"])
@pytest.mark.parametrize("variant", VARIANTS, ids=name_variant)
def test_every_parameter_gets_a_gradient(image_features, labels, variant, form):
    head = make_head(form=form, **variant).train()
    score = head.score(image_features, head.label_features(labels))
    if list(head.parameters()):
        score.square().sum().backward()
    assert [name for name, parameter in head.named_parameters() if parameter.grad is None] == []


def test_learned_scalars_have_the_documented_initial_values():
    head = create_head(HeadConfig(context_labels=CONTEXT), D)
    started = {name: parameter.item() for name, parameter in head.named_parameters() if parameter.dim() == 0}
    assert started == pytest.approx(
        {"log_local_scale": math.log(10), "log_global_scale": math.log(10), "bias": -5, "gamma": 0.1}
    )


def test_published_scores_depend_on_other_labels(image_features, labels):
    head = make_head(form="published")
    whole = head.score(image_features, head.label_features(labels))[:, :3]
    few = head.score(image_features, head.label_features(labels[:3]))
    assert (whole - few).abs().max() > 1e-2
    one = head.score(image_features, head.label_features(labels[:1]))
    assert (one.abs() - one.abs().round()).abs().max() < 1e-12


def test_published_scores_are_normalized_only_when_configured(image_features, labels):
    raw, normalized = (make_head(kind="mkt", form="published", normalize_scores=n) for n in (False, True))
    features = raw.label_features(labels)
    matched = image_features.image_embeddings @ labels.T
    local = (image_features.patch_tokens @ labels.T).topk(2, dim=1).values.mean(1)
    torch.testing.assert_close(raw.score(image_features, features), (matched + local) / 2)
    halves = [part / part.norm(dim=-1, keepdim=True) for part in (matched, local)]
    torch.testing.assert_close(normalized.score(image_features, features), (halves[0] + halves[1]) / 2)


@pytest.mark.parametrize("form", ["published", "context"])
def test_top_k_above_the_patch_count_uses_all_patches(image_features, labels, form):
    many, all_patches = make_head(form=form, top_k=100), make_head(form=form, top_k=P)
    features = many.label_features(labels)
    assert torch.equal(many.score(image_features, features), all_patches.score(image_features, features))


@pytest.mark.parametrize("variant", VARIANTS, ids=name_variant)
def test_local_scores_give_one_bounded_score_per_patch_and_label(image_features, labels, variant):
    head = make_head(**variant)
    local = head.local_scores(image_features, head.label_features(labels))
    assert local.shape == (B, P, C)
    assert local.abs().max() <= 1 + 1e-12


@pytest.mark.parametrize(
    ("kind", "expected"), [("clip", ClipHead), ("mkt", MktHead), ("biam", BiamHead), ("sigrl", SigRLHead)]
)
def test_head_kind_in_config_selects_the_head_class(kind, expected):
    head = create_head(HeadConfig(kind=kind, context_labels=CONTEXT), D)
    assert type(head) is expected


def test_context_embeddings_are_saved_with_the_weights(image_features, labels):
    head = make_head()
    fresh = create_head(head.config, D).double().eval()
    fresh.load_state_dict(head.state_dict())
    assert torch.equal(
        fresh.score(image_features, fresh.label_features(labels)),
        head.score(image_features, head.label_features(labels)),
    )


def test_context_that_does_not_match_the_config_is_rejected():
    with pytest.raises(ValueError, match="context_labels"):
        create_head(HeadConfig(), D)
    with pytest.raises(ValueError, match=r"shape \(4, 8\), expected \(5, 8\)"):
        make_head().set_context(torch.randn(4, D))
    with pytest.raises(ValueError, match="no context"):
        make_head(form="published").set_context(torch.randn(K, D))


def test_dropout_can_be_disabled():
    head = create_head(HeadConfig(form="published"), D, dropout=0.0)
    labels = torch.randn(C, D)
    assert torch.equal(head.label_features(labels).refined, head.label_features(labels).refined)


MATCHING = [
    *(variant for variant in VARIANTS if variant["kind"] != "clip"),
    {"kind": "biam"},
]


@pytest.mark.parametrize("form", ["published", "context"])
@pytest.mark.parametrize("variant", MATCHING, ids=name_variant)
def test_removing_a_high_scoring_patch_lowers_the_label_score(image_features, labels, variant, form):
    """For labels of both signs: one row of `both` has the opposite embedding of another."""
    head = make_head(form=form, normalize_scores=False, **variant)
    both = head.label_features(torch.cat([labels, -labels]))
    tokens = head.reconstruct(image_features, both)
    with torch.no_grad():
        maps = head.local_scores(image_features, both)
        before = head.score(replace(image_features, rebuilt_tokens=tokens, patch_tokens=tokens), both)
        for label in range(len(both.refined)):
            for photograph in range(B):
                ranks = maps[photograph, :, label].argsort()
                changed = tokens.clone()
                changed[photograph, ranks[-1]] = tokens[photograph, ranks[0]]
                without = replace(image_features, rebuilt_tokens=changed, patch_tokens=changed)
                after = head.score(without, both)
                assert after[photograph, label] < before[photograph, label]
