"""The logits of known words: classes raise them, rivals lower them. Arrays that do not fit are refused."""

import numpy as np
import pytest
from small_evidence import (
    BACKBONE,
    CLASSES,
    CONFIG,
    HEAD,
    KINDS,
    WITH_KINDS,
    WITH_RIVALS,
    WORDS,
    make_arrays,
    make_photographs,
)

from sigrl.model.evidence import Evidence, evidence_of


@pytest.fixture
def arrays():
    return make_arrays()


@pytest.fixture
def photographs():
    return make_photographs()


def test_kinds_of_a_known_word_raise_its_logit_and_never_lower_it(arrays, photographs):
    config = CONFIG.model_copy(update={"kind_pairs": 3})
    # Two classes are kinds of "dog", one of them also of "cat"; the third word has none.
    arrays |= {
        "kind_words": np.array([0, 0, 1], np.float32),
        "kind_classes": np.array([2, 4, 4], np.float32),
        "kind_gains": np.array([2.0, 3.0], np.float32),
    }
    logits = photographs.word_logits.copy()
    logits[0, WORDS - 1] = 7
    found = Evidence(HEAD.model_copy(update={"evidence": config}), arrays).known_logits(logits)
    classes = np.exp(logits[:, 3:]) / np.exp(logits[:, 3:]).sum(axis=1, keepdims=True)
    of_dog, of_cat = classes[:, 2] + classes[:, 4], classes[:, 4]
    for word, share in ((0, of_dog), (1, of_cat)):
        floor = 2 * np.log(share / (1 - share)) + 3
        np.testing.assert_allclose(found[:, word], np.maximum(logits[:, word], floor), rtol=1e-4)
        assert found[0, word] > logits[0, word] + 5
    np.testing.assert_array_equal(found[:, 2], logits[:, 2])


def test_rivals_lower_each_other_and_no_other_word(arrays, photographs):
    arrays |= {
        "rival_words": np.array([[0, 2]], np.float32),
        "rival_gain": np.array([0.3], np.float32),
    }
    logits = photographs.word_logits
    found = Evidence(WITH_RIVALS, arrays).known_logits(logits)
    np.testing.assert_allclose(found[:, 0], logits[:, 0] - np.log1p(0.3 * np.exp(logits[:, 2])), rtol=1e-4)
    np.testing.assert_allclose(found[:, 2], logits[:, 2] - np.log1p(0.3 * np.exp(logits[:, 0])), rtol=1e-4)
    np.testing.assert_array_equal(found[:, 1], logits[:, 1])
    # Logits that no training gives stay finite.
    assert np.isfinite(Evidence(WITH_RIVALS, arrays).known_logits(logits + 200)).all()


def test_rivals_do_not_lower_what_the_classes_say(arrays, photographs):
    both = CONFIG.model_copy(update={"kind_pairs": 1, "rival_pairs": 1})
    arrays |= KINDS | {
        "rival_words": np.array([[0, 1]], np.float32),
        "rival_gain": np.array([1.0], np.float32),
    }
    logits = photographs.word_logits.copy()
    logits[:, 1] = 20
    logits[:, 3] = 20
    found = Evidence(HEAD.model_copy(update={"evidence": both}), arrays).known_logits(logits)
    # The class has the probability 1, which is clipped to 0.999.
    np.testing.assert_allclose(found[:, 0], 2 * np.log(999) + 3, rtol=1e-4)


def test_small_probabilities_of_many_kinds_do_not_add_up(arrays, photographs):
    few, many = (
        Evidence(
            HEAD.model_copy(update={"evidence": CONFIG.model_copy(update={"kind_pairs": CLASSES})}),
            arrays
            | {
                "kind_words": np.array([0] * kinds + [1] * (CLASSES - kinds), np.float32),
                "kind_classes": np.arange(CLASSES, dtype=np.float32),
                "kind_gains": np.array([2.0, 30.0], np.float32),
            },
        ).known_logits(np.zeros_like(photographs.word_logits))[0, 0]
        for kinds in (4, 5)
    )
    # Five of five classes have the probability 1, which is clipped to 0.999; four have 0.8.
    assert few == pytest.approx(2 * np.log(4) + 30, abs=1e-3)
    assert many == pytest.approx(2 * (np.log(999) - np.log(5 / 4)) + 30, abs=1e-3)


@pytest.mark.parametrize(
    "broken",
    [
        {"kind_words": np.array([3], np.float32)},
        {"kind_classes": np.array([CLASSES], np.float32)},
        {"kind_classes": np.array([-1], np.float32)},
        {"kind_classes": np.array([0, 1], np.float32)},
        {"class_rows": np.full(7, CLASSES, np.float32)},
        {"gains": np.zeros(3, np.float32)},
        {"lexicon": None},
    ],
)
def test_arrays_that_do_not_fit_the_checkpoint_are_refused(arrays, broken):
    given = {name: array for name, array in (arrays | KINDS | broken).items() if array is not None}
    with pytest.raises(ValueError, match=f"head.{next(iter(broken))}"):
        evidence_of(WITH_KINDS, BACKBONE, given)
    assert evidence_of(WITH_KINDS, BACKBONE, arrays | KINDS) is not None


@pytest.mark.parametrize(
    ("pair", "gain"), [((0, -1), 1.0), ((0, 3), 1.0), ((1, 1), 1.0), ((0, np.nan), 1.0), ((0, 1), -0.1)]
)
def test_rivals_that_do_not_fit_are_refused(arrays, pair, gain):
    rivals = {"rival_words": np.array([pair], np.float32), "rival_gain": np.array([gain], np.float32)}
    with pytest.raises(ValueError, match=r"head\.rival_"):
        evidence_of(WITH_RIVALS, BACKBONE, arrays | rivals)
