"""The whole published model against the reference's CLIPVIT: tower, every step of the head, scores."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from sigrl.model import svfr

FILE = "03_clipvit.npz"
CASES = ["A.P16.plain", "A.P16.sharp", "B.P49.sharp"]


@pytest.fixture
def labels(golden):
    return lambda name, dtype: golden.array(FILE, f"{name}/label_embed").to(dtype)


@pytest.mark.parametrize("name", CASES)
def test_tower_matches_the_reference(golden, encode, dtype, name):
    image_features, tokens = encode(golden.case(FILE, name), dtype)
    golden.compare(FILE, f"{name}/dist_feat", image_features.image_embeddings)
    golden.compare(FILE, f"{name}/pred_feat", image_features.patch_tokens)
    golden.compare(FILE, f"{name}/global_only.normTrue/second_return", tokens)


@pytest.mark.parametrize("name", CASES)
def test_every_step_of_the_head_matches_the_reference(golden, encode, make_head, labels, dtype, name):
    case = golden.case(FILE, name)
    head = make_head(case["weights"], dtype)
    image_features, _ = encode(case, dtype)
    with torch.no_grad():
        label_features = head.label_features(labels(name, dtype))
        embeddings = label_features.label_embeddings
        decoupled = svfr.semantic_decoupling(
            image_features.patch_tokens, embeddings, head.svfr.decoupling.weight
        )
        affinity = svfr.affinity(decoupled, embeddings)
        related = decoupled @ affinity
        rebuilt = head.reconstruct(image_features, label_features)
    golden.compare(FILE, f"{name}/label_embed_graph", label_features.refined)
    golden.compare(FILE, f"{name}/semanticFeature", decoupled)
    golden.compare(FILE, f"{name}/affinity_normalised", affinity)
    golden.compare(FILE, f"{name}/output_before_concat", related)
    golden.compare(
        FILE,
        f"{name}/output_after_concat",
        torch.cat([related, label_features.refined.expand_as(related)], dim=-1),
    )
    golden.compare(FILE, f"{name}/SD_label", rebuilt)


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("top_k", [16, 4])
@pytest.mark.parametrize("name", CASES)
def test_scores_match_the_reference(golden, encode, make_head, labels, dtype, name, top_k, normalize):
    case = golden.case(FILE, name)
    head = make_head(case["weights"], dtype, top_k=top_k, normalize_scores=normalize)
    image_features, _ = encode(case, dtype)
    with torch.no_grad():
        label_features = head.label_features(labels(name, dtype))
        local = head.local_scores(image_features, label_features).topk(top_k, dim=1).values.mean(1)
        matched = head.global_scores(image_features, label_features)
        score = head.score(image_features, label_features)
    prefix = f"{name}/topk{top_k}.norm{normalize}"
    golden.compare(FILE, f"{prefix}/score", score)
    if normalize:
        golden.compare(FILE, f"{prefix}/score_SD_raw", local)
        golden.compare(FILE, f"{prefix}/score2_raw", matched)
        golden.compare(FILE, f"{prefix}/score_SD_normed", functional.normalize(local, dim=-1))
        golden.compare(FILE, f"{prefix}/score2_normed", functional.normalize(matched, dim=-1))


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("name", CASES)
def test_clip_head_matches_the_global_only_reference(
    golden, encode, make_head, labels, dtype, name, normalize
):
    case = golden.case(FILE, name)
    head = make_head("plain", dtype, kind="clip", normalize_scores=normalize)
    image_features, _ = encode(case, dtype)
    score = head.score(image_features, head.label_features(labels(name, dtype)))
    golden.compare(FILE, f"{name}/global_only.norm{normalize}/score", score)


@pytest.mark.parametrize("name", CASES)
def test_single_image_scores_match_the_reference(golden, encode, make_head, labels, dtype, name):
    case = golden.case(FILE, name)
    head = make_head(case["weights"], dtype)
    image_features, _ = encode(case, dtype)
    with torch.no_grad():
        label_features = head.label_features(labels(name, dtype))
        alone = [
            head.score(
                replace(image_features, image_embeddings=embedding[None], patch_tokens=tokens[None]),
                label_features,
            )
            for embedding, tokens in zip(
                image_features.image_embeddings, image_features.patch_tokens, strict=True
            )
        ]
    golden.compare(FILE, f"{name}/score_each_image_alone", torch.cat(alone))
