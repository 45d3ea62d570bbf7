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


@pytest.mark.parametrize(
    "label", ["dogss", "doghouse", "grass", "a", "s", "as", "the", "hot dogs", "dogges", "bused", "boxe"]
)
def test_other_words_are_not_mistaken_for_known_ones(label: str) -> None:
    assert own_row(Label(name=label), ROWS) == -1


@pytest.mark.parametrize(
    ("label", "known"), [("capes", "cap"), ("suites", "suit"), ("vanes", "van"), ("cares", "car")]
)
def test_longer_word_is_no_plural_of_a_shorter_one(label: str, known: str) -> None:
    assert own_row(Label(name=label), rows_of_names([(known,)])) == -1


def test_name_in_the_plural_comes_before_its_synonyms() -> None:
    assert own_row(Label(name="dogs", synonyms=("bus",)), ROWS) == WORDS.index("dog")
    assert own_row(Label(name="hounds", synonyms=("bus",)), ROWS) == WORDS.index("bus")
