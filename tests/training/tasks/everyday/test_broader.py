"""The words above the names of `everyday` and ImageNet's classes."""

import yaml

import sigrl.training.tasks.everyday.broader as broader_module
from sigrl.service.vocabularies.builtin import builtin
from sigrl.training.backbones.initialisation import imagenet_class_names
from sigrl.training.tasks.everyday.broader import broader_words
from sigrl.training.tasks.everyday.names import ClassNames


def test_table_has_every_word_once_and_names_that_exist() -> None:
    table = yaml.safe_load(broader_module._TABLE.read_text(encoding="utf-8"))
    words = [word for entry in table for word in entry["words"]]
    assert len(words) == len(set(words))
    vocabulary = builtin("everyday")
    known = ClassNames(vocabulary.names, vocabulary)
    assert {name for entry in table for name in entry.get("names", ())} <= known.column.keys()


def test_broader_words_have_known_words_and_classes_below_them() -> None:
    found = broader_words(["lizard", "apple"])
    pairs = found.arrays["broader_pairs"].astype(int)
    of = {word: set(pairs[pairs[:, 0] == row, 1]) for row, names in enumerate(found.words) for word in names}
    classes = [names[0] for names in imagenet_class_names()]
    reptiles = {classes[row - 2] for row in of["reptile"] if row >= 2}
    assert {"green snake", "box turtle", "Komodo dragon"} < reptiles
    assert of["reptile"] & {0, 1} == {0}
    assert of["fruit"] & {0, 1} == {1}
    assert of["reptile"] < of["animal"]


def test_known_word_is_below_its_other_names() -> None:
    found = broader_words(["car", "potato"])
    pairs = found.arrays["broader_pairs"].astype(int).tolist()
    rows = {word: row for row, names in enumerate(found.words) for word in names}
    assert [rows["automobile"], 0] in pairs
    assert [rows["spud"], 1] in pairs


def test_words_above_nothing_known_are_left_out() -> None:
    assert "room" not in {word for names in broader_words(["dog"]).words for word in names}
    assert "room" in {word for names in broader_words(["kitchen"]).words for word in names}


def test_everyday_words_are_not_mistaken_for_others() -> None:
    names = builtin("everyday").names
    words = {word for entry in broader_words(names).words for word in entry}
    assert not words & {"arm", "hair", "screen", "place", "ground", "dish", "worker", "photo", "tube", "show"}
