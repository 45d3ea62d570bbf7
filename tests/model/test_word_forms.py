"""Other spellings of known words."""

import pytest

from sigrl.model.label_facts import own_row, rows_of_names
from sigrl.model.vocabulary import Label

WORDS = [
    "person",
    "dog",
    "bus",
    "glasses",
    "glass",
    "berry",
    "box",
    "t-shirt",
    "fire truck",
    "snowman",
    "pie",
]
ROWS = rows_of_names([(word,) for word in WORDS])


@pytest.mark.parametrize(
    ("label", "word"),
    [
        ("People", "person"),
        ("dogs", "dog"),
        ("a dog", "dog"),
        ("the dogs", "dog"),
        ("bus", "bus"),
        ("buses", "bus"),
        ("glasses", "glasses"),
        ("a glass", "glass"),
        ("berries", "berry"),
        ("boxes", "box"),
        ("T-Shirts", "t-shirt"),
        ("t_shirt", "t-shirt"),
        ("fire-trucks", "fire truck"),
        ("snowmen", "snowman"),
    ],
)
def test_known_word_is_recognised_in_other_forms(label: str, word: str) -> None:
    assert own_row(Label(name=label), ROWS) == WORDS.index(word)


@pytest.mark.parametrize("label", ["dogss", "doghouse", "grass", "a", "s", "as", "the", "hot dogs"])
def test_other_words_are_not_mistaken_for_known_ones(label: str) -> None:
    assert own_row(Label(name=label), ROWS) == -1


def test_exact_synonym_comes_before_the_singular_of_the_name() -> None:
    assert own_row(Label(name="dogs", synonyms=("bus",)), ROWS) == WORDS.index("bus")
