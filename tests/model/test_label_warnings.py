"""What is said of labels that no checkpoint, or this one, can judge."""

import numpy as np
import pytest

from sigrl.model.label_warnings import ABSENCE, UNKNOWN, names_an_absence, warnings
from sigrl.model.vocabulary import Label, Vocabulary


@pytest.mark.parametrize(
    "name",
    [
        "no dog",
        "No people",
        "not a cat",
        "without people",
        "a street without cars",
        "non-smoking",
        "the dog isn't there",
        "the dog isn\u2019t there",
        "neither cat nor dog",
        "kein Hund",
        "ohne Menschen",
        "sans chien",
        "nessuna persona",
        "没有狗",
        "犬なし",
    ],
)
def test_negated_name_is_detected_as_an_absence(name):
    assert names_an_absence(Label(name=name))


@pytest.mark.parametrize(
    "name",
    [
        "dog",
        "knot",
        "notebook",
        "nose",
        "forget-me-not",
        "no parking sign",
        "noodles",
        "nonfiction",
        "northern lights",
        "sans serif text",
        "comic sans",
    ],
)
def test_ordinary_name_is_not_detected_as_an_absence(name):
    assert not names_an_absence(Label(name=name))


def test_absence_check_uses_prompts_and_synonyms():
    assert not names_an_absence(Label(name="no people", prompts=("an empty street",)))
    assert names_an_absence(Label(name="empty street", prompts=("a {label} without people",)))
    assert names_an_absence(Label(name="empty", synonyms=("no people",)))


def test_each_label_has_at_most_one_warning_in_vocabulary_order():
    labels = Vocabulary.from_names(["dog", "no dog", "blorf", "no blorf"])
    assert labels.absences == (1, 3)
    assert warnings(labels.absences, (), None) == {1: ABSENCE, 3: ABSENCE}
    told = warnings(labels.absences, (), np.array([0.9, 0.9, 0.19, 0.0]))
    assert list(told.items()) == [(1, ABSENCE), (2, UNKNOWN), (3, ABSENCE)]
    assert warnings((), (), np.array([0.2, 1.0])) == {}


def test_non_english_word_needs_a_higher_familiarity():
    assert warnings((), (0, 1), np.array([0.69, 0.7, 0.3])) == {0: UNKNOWN}
    assert warnings((), (0,), None) == {}
