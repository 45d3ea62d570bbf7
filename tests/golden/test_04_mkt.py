"""The MKT head, and the clip head beside it, against the reference's MKT."""

import pytest
import torch
from torch.nn import functional

FILE = "04_mkt_head.npz"
CASES = ["A.P16", "B.P49"]


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("top_k", [16, 4])
@pytest.mark.parametrize("name", CASES)
def test_mkt_scores_match_the_reference(golden, encode, make_head, dtype, name, top_k, normalize):
    head = make_head("plain", dtype, kind="mkt", top_k=top_k, normalize_scores=normalize)
    image_features, _ = encode(golden.case(FILE, name), dtype)
    label_features = head.label_features(golden.array(FILE, f"{name}/label_embed").to(dtype))
    local = head.local_scores(image_features, label_features).topk(top_k, dim=1).values.mean(1)
    matched = head.global_scores(image_features, label_features)
    prefix = f"{name}/topk{top_k}.norm{normalize}"
    golden.compare(FILE, f"{name}/dist_feat", image_features.image_embeddings)
    golden.compare(FILE, f"{name}/pred_feat_sum_over_patches", image_features.patch_tokens.sum(1))
    golden.compare(FILE, f"{prefix}/score", head.score(image_features, label_features))
    if normalize:
        golden.compare(FILE, f"{prefix}/score1_raw", local)
        golden.compare(FILE, f"{prefix}/score2_raw", matched)
        golden.compare(FILE, f"{prefix}/score1_normed", functional.normalize(local, dim=-1))
        golden.compare(FILE, f"{prefix}/score2_normed", functional.normalize(matched, dim=-1))


@pytest.mark.parametrize("name", CASES)
def test_clip_head_matches_the_global_only_reference(golden, encode, make_head, dtype, name):
    head = make_head("plain", dtype, kind="clip")
    image_features, _ = encode(golden.case(FILE, name), dtype)
    label_features = head.label_features(golden.array(FILE, f"{name}/label_embed").to(dtype))
    score: torch.Tensor = head.score(image_features, label_features)
    golden.compare(FILE, f"{name}/global_only.normTrue/score", score)
