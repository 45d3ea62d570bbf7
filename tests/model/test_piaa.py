"""The piaa head, against the published code's formulas (learn.py, test.py), computed here in NumPy."""

import numpy as np
import pytest
import torch

from sigrl.model import piaa
from sigrl.model.config import HeadConfig
from sigrl.model.features import ImageFeatures
from sigrl.model.heads import create_head

D, C = 6, 3


def unit(array: np.ndarray) -> np.ndarray:
    return array / np.linalg.norm(array, axis=-1, keepdims=True)


def softmax(array: np.ndarray) -> np.ndarray:
    powers = np.exp(array - array.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def estimated(banks: dict[int, list[tuple[np.ndarray, float]]], texts: np.ndarray) -> tuple:
    """`param_estimation`: `banks` has patches with the probability of their label, by label."""
    means, centred = texts.copy(), []
    for label, bank in banks.items():
        total = sum(share for _, share in bank)
        means[label] = sum(share * patch for patch, share in bank) / total
        centred += [patch - means[label] for patch, _ in bank]
    covariance = np.cov(np.stack(centred).T, ddof=1)
    precision = D * np.linalg.pinv((len(centred) - 1) * covariance + np.trace(covariance) * np.eye(D))
    bias = [np.log(1 / len(texts)) - mean @ precision @ mean / 2 for mean in means]
    return (means @ precision).T, np.array(bias)


def learned(patches: np.ndarray, texts: np.ndarray, best: int) -> tuple:
    """`learn_piaa`."""
    probabilities = softmax(60 * patches @ texts.T)
    entropy = -(probabilities * np.log(probabilities)).sum(1)
    label = probabilities.argmax(1)
    rows = {c: sorted(np.flatnonzero(label == c), key=lambda row: entropy[row])[:best] for c in set(label)}
    banks = {c: [(patches[row], probabilities[row, c]) for row in rows[c]] for c in sorted(rows)}
    weight, bias = estimated(banks, texts)
    chosen = np.stack([patch for c in banks for patch, _ in banks[c]])
    logits = chosen @ weight + bias
    sure, label = softmax(100 * logits), logits.argmax(1)
    again: dict[int, list] = {}
    for c in sorted(set(label)):
        own = sure[label == c, c]
        if len(own) > 1:
            for patch, share in zip(chosen[label == c], own, strict=True):
                if share >= own.mean() + own.std(ddof=1):
                    again.setdefault(c, []).append((patch, share))
    return estimated(again, texts)


@pytest.fixture(scope="module")
def arrays() -> dict[str, np.ndarray]:
    random = np.random.default_rng(3)
    texts = unit(random.standard_normal((C, D)))
    # The last label has no patch of its own.
    patches = unit(texts[random.integers(0, C - 1, 300)] + 0.35 * random.standard_normal((300, D)))
    patches = patches[(patches @ texts.T).argmax(1) < C - 1]
    return {
        "texts": texts,
        "patches": patches,
        "images": random.standard_normal((2, D)),
        "tokens": random.standard_normal((2, 4, D)),
    }


def test_the_classifier_and_the_scores_are_the_published_codes(
    arrays: dict[str, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(piaa, "PATCHES_PER_LABEL", 40)
    texts, patches = arrays["texts"], arrays["patches"]
    head = create_head(HeadConfig(kind="piaa", form="published", patches=len(patches)), D).double()
    head.patches.copy_(torch.from_numpy(5 * patches))
    labels = head.label_features(torch.from_numpy(2 * texts))
    weight, bias = learned(patches, texts, 40)
    np.testing.assert_allclose(labels.evidence[:, :-1], weight.T, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(labels.evidence[:, -1], bias - np.log(1 / C), rtol=1e-6, atol=1e-6)
    tokens = unit(arrays["tokens"]) @ weight + bias
    best = softmax(tokens / 500).max(1)
    expected = 0.1 * softmax(80 * unit(arrays["images"]) @ texts.T) + 0.9 * softmax(200 * best)
    features = ImageFeatures(torch.from_numpy(arrays["images"]), torch.from_numpy(arrays["tokens"]), (2, 2))
    np.testing.assert_allclose(head.score(features, labels).numpy(), expected, rtol=1e-6)
    local = head.local_scores(features, labels).numpy()
    np.testing.assert_allclose(local, tokens - np.log(1 / C), rtol=1e-6, atol=1e-6)


def test_too_few_patches_still_give_a_classifier(arrays: dict[str, np.ndarray]) -> None:
    classifier = piaa.fit_patch_classifier(torch.eye(D)[:2], torch.from_numpy(arrays["texts"]).float())
    assert classifier.shape == (C, D + 1)
    assert classifier.isfinite().all()


@pytest.mark.parametrize("changes", [{"form": "context"}, {"patches": 0}, {"kind": "mkt"}])
def test_it_needs_patches_and_the_published_form(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="a piaa head, and no other, needs"):
        HeadConfig.model_validate({"kind": "piaa", "form": "published", "patches": 5, **changes})
