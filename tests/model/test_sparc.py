"""The sparc head, against the normalisation of SPARC's published code, computed here from its formula."""

import numpy as np
import pytest
import torch

from sigrl.model.config import HeadConfig
from sigrl.model.features import ImageFeatures
from sigrl.model.heads import create_head

NAMES = ("dog", "cat", "person", "car", "tree")


@torch.no_grad()
def test_scores_are_standardized_over_labels_per_image() -> None:
    random = np.random.default_rng(0)
    images, labels = (random.standard_normal((rows, 8)).astype(np.float32) for rows in (3, len(NAMES)))
    head = create_head(HeadConfig(kind="sparc", context_labels=NAMES), 8)
    head.context_label_embeddings.copy_(torch.from_numpy(labels))
    head.log_global_scale.fill_(0)
    head.bias.fill_(-3)
    unit_images = images / np.linalg.norm(images, axis=1, keepdims=True)
    unit_labels = labels / np.linalg.norm(labels, axis=1, keepdims=True)
    cosines = unit_images @ unit_labels.T
    # run_SPARC.py, `calibrate_by_row`: the mean and the deviation with ddof=1 over the classes.
    expected = (cosines - cosines.mean(1, keepdims=True)) / cosines.std(1, keepdims=True, ddof=1)
    features = ImageFeatures(torch.from_numpy(images), torch.zeros(3, 1, 8), (1, 1))
    scores = head.score(features, head.label_features(torch.from_numpy(labels)))
    np.testing.assert_allclose(scores.numpy(), expected - 3, atol=1e-5)
    # A label's score does not depend on the others that are asked for.
    alone = head.score(features, head.label_features(torch.from_numpy(labels[1:2])))
    np.testing.assert_allclose(alone.numpy(), expected[:, 1:2] - 3, atol=1e-5)


@pytest.mark.parametrize("changes", [{"form": "published"}, {"context_labels": ("dog",)}])
def test_sparc_head_requires_context_labels(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="a sparc head needs"):
        HeadConfig.model_validate({"kind": "sparc", "context_labels": NAMES, **changes})
