"""What known words and classes say about the words above them."""

import numpy as np
import pytest
from small_evidence import (
    CLASSES,
    CONFIG,
    DIM,
    HEAD,
    KINDS,
    check_independence,
    make_arrays,
    make_background,
    make_photographs,
    scores_of,
)

from sigrl.model.config import EvidenceConfig
from sigrl.model.evidence import Evidence
from sigrl.model.evidence_arrays import check_arrays
from sigrl.model.vocabulary import Label

KNOWN = len(CONFIG.known_words)
BROADER = CONFIG.model_copy(
    update={"kind_pairs": 1, "broader_words": (("pet", "companion animal"), ("reptile",)), "broader_pairs": 4}
)
WITH_BROADER = HEAD.model_copy(update={"evidence": BROADER})
PAIRS = np.array([(0, 0), (0, 1), (0, KNOWN + 2), (1, KNOWN + 3)], np.float32)
"""The first two known words and the third class are pets; the fourth class is a reptile."""
LABELS = [Label(name=name) for name in ("Pet", "beast", "reptile", "dog")]


def arrays_with(gains):
    return make_arrays() | KINDS | {"broader_pairs": PAIRS, "broader_gains": np.array(gains, np.float32)}


def scores(arrays, labels=LABELS):
    return scores_of(WITH_BROADER, arrays, labels)


def test_broader_word_is_raised_by_the_likeliest_word_or_class_below_it():
    arrays = arrays_with([0.5, 2.0])
    photographs, evidence = make_photographs(), Evidence(WITH_BROADER, arrays)
    classes = np.exp(photographs.word_logits[:, KNOWN:])
    classes /= classes.sum(axis=1, keepdims=True)
    gain, offset = KINDS["kind_gains"]
    said = gain * (np.log(classes) - np.log1p(-classes)) + offset
    known = evidence.known_logits(photographs.word_logits)
    pet = np.maximum(known[:, :2].max(axis=1), said[:, 2])
    added = scores(arrays) - scores(arrays_with([0, 0]))
    np.testing.assert_allclose(added[:, 0], 0.5 * pet.clip(-8, 8) + 2, atol=1e-5)
    np.testing.assert_allclose(added[:, 2], 0.5 * said[:, 3].clip(-8, 8) + 2, atol=1e-5)
    # One is no broader word, the other is a known word.
    np.testing.assert_array_equal(added[:, [1, 3]], 0)


def test_score_of_a_broader_word_does_not_depend_on_other_labels():
    check_independence(Evidence(WITH_BROADER, arrays_with([0.5, 2.0])), LABELS)


def test_synonym_names_a_broader_word_and_own_prompts_do_not():
    synonym, prompted = Label(name="companion animal"), Label(name="pet", prompts=("a pet rock",))
    added = [scores(arrays_with(gains), [synonym, prompted]) for gains in ([0.5, 2.0], [0, 0])]
    difference = added[0] - added[1]
    assert (difference[:, 0] != 0).all()
    np.testing.assert_array_equal(difference[:, 1], 0)


def test_broader_words_are_familiar():
    evidence = Evidence(WITH_BROADER, arrays_with([0.5, 2.0]))
    strange = np.zeros((2, DIM), np.float32)
    rows = evidence.describe([Label(name="reptile"), Label(name="beast")], strange, make_background())
    np.testing.assert_array_equal(evidence.familiarity(rows), [1, 0])


@pytest.mark.parametrize(
    ("pair", "message"), [((2, 0), "below 2"), ((0, KNOWN + CLASSES), f"below {KNOWN + CLASSES}")]
)
def test_pair_of_a_word_that_does_not_exist_is_rejected(pair, message):
    arrays = arrays_with([0.5, 2.0])
    arrays["broader_pairs"] = np.array([*PAIRS[:3], pair], np.float32)
    with pytest.raises(ValueError, match=message):
        check_arrays(BROADER, DIM, CLASSES, arrays)


def test_broader_word_with_nothing_below_it_is_rejected():
    arrays = arrays_with([0.5, 2.0])
    arrays["broader_pairs"] = PAIRS[[0, 1, 2, 2]]
    with pytest.raises(ValueError, match="nothing below"):
        check_arrays(BROADER, DIM, CLASSES, arrays)


def test_broader_words_need_the_gains_of_classes():
    with pytest.raises(ValueError, match="kind_pairs"):
        EvidenceConfig(known_words=(("dog",),), class_texts=1, lexicon=1, broader_words=(("pet",),))
