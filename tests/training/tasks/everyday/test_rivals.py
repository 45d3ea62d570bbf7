"""Which known words are rivals."""

import numpy as np
import pytest

from sigrl.model.vocabulary import Label, Vocabulary
from sigrl.training.tasks.everyday.rivals import rival_arrays

WORDS = ["bus", "truck", "wheel", "vehicle", "man", "woman", "tram"]
VOCABULARY = Vocabulary(
    name="small",
    labels=tuple(
        Label(name=name, parent="vehicle" if name in ("bus", "truck", "tram") else None) for name in WORDS
    ),
)


@pytest.fixture
def unit():
    """All words of traffic point the same way, and people another."""
    return np.array([[1, 0]] * 4 + [[0, 1]] * 2 + [[1, 0]], np.float32)


@pytest.fixture
def labels():
    """Forty photographs: buses and trucks apart, each with wheels, and couples; nobody has seen a tram."""
    shown = np.full((40, len(WORDS)), -1, np.int8)
    shown[:20, [0, 2, 3]] = 1
    shown[20:, [1, 2, 3]] = 1
    shown[:, 4:6] = 1
    return shown


def pairs(words, unit, labels):
    found = rival_arrays(words, unit, labels, VOCABULARY)
    return {(words[int(one)], words[int(other)]) for one, other in found.get("rival_words", [])}


def test_words_alike_that_seldom_share_a_photograph_are_rivals(unit, labels):
    # Couples are common, and yet names for one person are rivals.
    assert pairs(WORDS, unit, labels) == {("bus", "truck"), ("man", "woman")}


def test_word_and_its_parent_are_not_rivals(unit, labels):
    labels[:, 3] = -1
    labels[:10, [0, 2]] = -1
    labels[:10, 3] = 1
    assert ("bus", "vehicle") not in pairs(WORDS, unit, labels)
    assert ("wheel", "vehicle") in pairs(WORDS, unit, labels)


def test_words_of_different_meaning_are_not_rivals(labels):
    apart = np.eye(len(WORDS), dtype=np.float32)
    assert pairs(WORDS, apart, labels) == {("man", "woman")}
    assert rival_arrays(WORDS[:3], apart[:3], labels[:, :3], VOCABULARY) == {}


def test_unknown_labels_count_for_no_pair(unit, labels):
    unlabelled = np.zeros((400, len(WORDS)), np.int8)
    unlabelled[:, 0] = 1
    unlabelled[:200, 1] = 1
    assert ("bus", "truck") not in pairs(WORDS, unit, np.concatenate([labels, unlabelled]))
    unlabelled[:, 1] = 0
    assert ("bus", "truck") in pairs(WORDS, unit, np.concatenate([labels, unlabelled]))
