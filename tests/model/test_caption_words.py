"""What all known words and classes say about words that captions mention."""

import numpy as np
import pytest
from small_evidence import (
    CLASSES,
    CONFIG,
    DIM,
    HEAD,
    KINDS,
    WORDS,
    check_independence,
    make_arrays,
    make_background,
    make_photographs,
    scores_of,
    unit,
)

from sigrl.model.config import EvidenceConfig
from sigrl.model.evidence import Evidence
from sigrl.model.evidence_arrays import check_arrays
from sigrl.model.vocabulary import Label

CAPTIONED = CONFIG.model_copy(update={"caption_words": ("sunset", "wave"), "tower_logits": WORDS})
WITH_CAPTIONS = HEAD.model_copy(update={"evidence": CAPTIONED})
LABELS = [Label(name=name) for name in ("Waves", "beast", "sunset", "dog")]


def arrays_with(gains):
    rng = np.random.default_rng(5)
    return make_arrays() | {
        "caption_weights": rng.standard_normal((2, WORDS)).astype(np.float32),
        "caption_bias": np.array([-3, 20], np.float32),
        "caption_gains": np.array(gains, np.float32),
    }


def scores(arrays, labels=LABELS):
    return scores_of(WITH_CAPTIONS, arrays, labels)


def test_word_of_captions_is_scored_by_the_log_odds_of_a_mention():
    arrays = arrays_with([0.5, 2.0])
    added = scores(arrays) - scores(arrays_with([0, 0]))
    said = make_photographs().word_logits @ arrays["caption_weights"].T + arrays["caption_bias"]
    np.testing.assert_allclose(added[:, 2], 0.5 * said[:, 0] + 2, atol=1e-5)
    # The log odds count up to 8. "Waves" is the plural.
    np.testing.assert_allclose(added[:, 0], 0.5 * np.minimum(said[:, 1], 8) + 2, atol=1e-5)
    # One is no word of captions, the other is a known word.
    np.testing.assert_array_equal(added[:, [1, 3]], 0)


def test_score_of_a_word_of_captions_does_not_depend_on_other_labels():
    check_independence(Evidence(WITH_CAPTIONS, arrays_with([0.5, 2.0])), LABELS)


def test_a_word_may_be_both_broader_and_of_captions():
    both = CAPTIONED.model_copy(update={"kind_pairs": 1, "broader_words": (("sunset",),), "broader_pairs": 1})
    head = HEAD.model_copy(update={"evidence": both})
    pairs = {"broader_pairs": np.zeros((1, 2), np.float32)}
    embeddings, photographs = unit(np.random.default_rng(3), 1, DIM), make_photographs()

    def added(captions, below):
        gains = {"broader_gains": np.array(below, np.float32)}
        evidence = Evidence(head, arrays_with(captions) | KINDS | pairs | gains)
        rows = evidence.describe([Label(name="sunset")], embeddings, make_background())
        return evidence.score(photographs, embeddings, rows)

    without = added([0, 0], [0, 0])
    apart = added([0.5, 2], [0, 0]) - without + added([0, 0], [0.7, 1]) - without
    np.testing.assert_allclose(added([0.5, 2], [0.7, 1]) - without, apart, atol=1e-5)
    assert (apart != 0).all()


def test_label_with_its_own_prompts_is_no_word_of_captions():
    prompted = [Label(name="sunset", prompts=("the sunset of an empire",))]
    np.testing.assert_array_equal(
        scores(arrays_with([0.5, 2.0]), prompted), scores(arrays_with([0, 0]), prompted)
    )


def test_another_number_of_tower_logits_is_rejected():
    with pytest.raises(ValueError, match=f"the image tower has {WORDS + 1}"):
        check_arrays(CAPTIONED, DIM, CLASSES + 1, arrays_with([0.5, 2.0]))
    with pytest.raises(ValueError, match="belong together"):
        EvidenceConfig(known_words=(("dog",),), class_texts=1, lexicon=1, caption_words=("sunset",))
