"""Features of photographs that are kept."""

import numpy as np
import pytest
from safetensors.numpy import save

from sigrl.model.kept_features import KeptFeatures, join, keep


@pytest.fixture
def features():
    rng = np.random.default_rng(0)
    return tuple(rng.standard_normal(shape).astype(np.float32) for shape in ((50, 8), (50, 6, 8)))


def test_kept_images_are_scored_in_order_in_small_batches(features):
    kept = keep(*features)
    batches = []

    def score(embeddings, tokens, words):
        assert words is None
        batches.append(len(embeddings))
        return np.concatenate([embeddings, tokens.reshape(len(tokens), -1)], axis=1)

    logits = kept.logits(score)
    assert batches == [32, 18]
    assert logits.dtype == np.float32
    np.testing.assert_allclose(logits[:, :8], features[0], atol=2e-3)
    np.testing.assert_allclose(logits[:, 8:], features[1].reshape(50, -1), atol=0.02)


def test_int8_tokens_keep_their_direction(features):
    tokens = features[1]
    tokens[0, 0] = 0
    kept = keep(*features).logits(lambda _embeddings, tokens, _words: tokens)
    assert (kept[0, 0] == 0).all()
    norms = np.linalg.norm(tokens, axis=2) * np.linalg.norm(kept, axis=2)
    assert ((tokens * kept).sum(2)[norms > 0] / norms[norms > 0] > 0.9999).all()


def test_kept_features_round_trip_through_bytes_and_join_in_order(features):
    kept = keep(*features)
    again = KeptFeatures.from_bytes(kept.to_bytes())
    both = join([again, keep(features[0][:3], features[1][:3])])
    assert (len(again), len(both)) == (50, 53)
    for name, tensor in both.tensors().items():
        np.testing.assert_array_equal(tensor[:50], kept.tensors()[name])
        np.testing.assert_array_equal(tensor[50:], kept.tensors()[name][:3])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tensors: tensors.pop("patch_tokens"), "it contains"),
        (lambda tensors: tensors.update(other=np.zeros(1)), "it contains"),
        (lambda tensors: tensors.update(image_embeddings=np.zeros((50, 9), np.float16)), "patch_tokens"),
        (lambda tensors: tensors.update(patch_tokens=np.zeros((49, 6, 8), np.int8)), r"\[49, 6, 8\]"),
        (
            lambda tensors: tensors.update({"patch_tokens.scale": np.full((50, 6), np.nan, np.float16)}),
            "finite",
        ),
    ],
)
def test_invalid_tensors_are_rejected(features, change, message):
    tensors = keep(*features).tensors()
    change(tensors)
    with pytest.raises(ValueError, match=message):
        KeptFeatures.from_bytes(save(tensors))


def test_bytes_in_another_format_are_rejected():
    with pytest.raises(ValueError, match="safetensors"):
        KeptFeatures.from_bytes(b"no tensors")


def test_word_logits_are_stored_with_the_features(features):
    words = np.random.default_rng(1).standard_normal((50, 5)).astype(np.float32)
    kept = join([keep(*features, words).take(slice(0, 20)), keep(*features, words).take(slice(20, 50))])
    again = KeptFeatures.from_bytes(kept.to_bytes())
    np.testing.assert_allclose(again.logits(lambda _e, _t, words: words), words, atol=2e-3)
