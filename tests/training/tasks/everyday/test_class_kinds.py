"""ImageNet's classes under the names that people use."""

import numpy as np
import yaml

import sigrl.training.tasks.everyday.class_kinds as class_kinds_module
from sigrl.model.vocabulary import Label, Vocabulary
from sigrl.service.vocabularies.builtin import builtin
from sigrl.training.backbones.initialisation import imagenet_class_names
from sigrl.training.tasks.everyday.class_kinds import class_kinds, kind_arrays, with_common_names


def test_table_has_imagenets_classes_in_order_with_names_of_everyday() -> None:
    table = yaml.safe_load(class_kinds_module._TABLE.read_text(encoding="utf-8"))
    assert [next(iter(entry)) for entry in table] == [names[0] for names in imagenet_class_names()]
    known = set(builtin("everyday").names)
    assert {name for entry in table for names in entry.values() for name in names} <= known


def test_kinds_include_those_of_narrower_names() -> None:
    kinds = class_kinds(builtin("everyday"))
    classes = imagenet_class_names()
    assert len(kinds["dog"]) == 118
    assert {classes[number][0] for number in kinds["lighthouse"]} == {"beacon"}
    assert set(kinds["lighthouse"]) < set(kinds["tower"])
    assert set(kinds["poodle"]) < set(kinds["dog"]) < set(kinds["animal"])


def test_kinds_of_names_that_the_vocabulary_lacks_are_left_out() -> None:
    labels = (Label(name="animal"), Label(name="dog", parent="animal"))
    kinds = class_kinds(Vocabulary(name="two", labels=labels))
    assert set(kinds) == {"animal", "dog"}
    assert set(kinds["dog"]) <= set(kinds["animal"])


def test_common_name_is_added_to_the_classes_that_it_stands_for() -> None:
    classes = [["beacon", "lighthouse"], ["toyshop"], ["poodle"]]
    kinds = {"lighthouse": [0], "toy store": [1], "thing": list(range(21))}
    assert with_common_names(classes, kinds) == [
        ["beacon", "lighthouse"],
        ["toyshop", "toy store"],
        ["poodle"],
    ]


def test_arrays_hold_a_pair_for_each_kind_of_a_known_word() -> None:
    found = kind_arrays(["dog", "sky", "cat"], {"dog": (4, 2), "cat": (7,), "fox": (1,)})
    np.testing.assert_array_equal(found["kind_words"], [0, 0, 2])
    np.testing.assert_array_equal(found["kind_classes"], [4, 2, 7])
    assert found["kind_gains"].shape == (2,)
    assert kind_arrays(["sky"], {"dog": (4,)}) == {}
