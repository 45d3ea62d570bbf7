import json
import re
from pathlib import Path

import pytest

from sigrl.model.vocabulary import Vocabulary
from sigrl.service.errors import InvalidLabelsError
from sigrl.service.settings import Settings
from sigrl.service.vocabularies.builtin import BUILTIN, builtin, find, parse_labels
from sigrl.service.vocabularies.registry import VocabularyRegistry

ROOT = Path(__file__).parents[3]
COUNTS = {"coco80": 80, "voc20": 20, "nuswide81": 81}
LABELLED = ROOT.parent / "shared" / "data" / "everyday"
"""Photographs that people labelled with the everyday words; not everywhere."""


@pytest.mark.parametrize("name", BUILTIN)
def test_built_in_vocabularies_have_the_expected_size_and_names(name: str) -> None:
    vocabulary = builtin(name)
    assert vocabulary.name == name
    assert len(vocabulary.names) == COUNTS.get(name, len(builtin("everyday").names))
    assert all(label == label.lower() for label in vocabulary.names)


def test_all_built_in_vocabularies_are_listed() -> None:
    folder = ROOT / "service" / "vocabularies"
    assert {path.stem for path in folder.glob("*.json")} == set(BUILTIN) - {"default"}


def test_default_vocabulary_equals_everyday() -> None:
    assert builtin("default").labels == builtin("everyday").labels
    assert builtin("default").content_hash == builtin("everyday").content_hash


def test_tutorial_lists_the_built_in_vocabulary_sizes() -> None:
    tutorial = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
    listed = dict(re.findall(r"^(\S+) +(\d+) +ships with sigrl", tutorial, re.MULTILINE))
    assert listed == {name: str(len(builtin(name).names)) for name in BUILTIN}


@pytest.mark.parametrize("name", BUILTIN)
def test_built_in_names_and_synonyms_are_unique(name: str) -> None:
    words = [word for label in builtin(name).labels for word in (label.name, *label.synonyms)]
    assert len(words) == len(set(words))


def test_everyday_labels_have_parents_and_synonyms() -> None:
    labels = builtin("everyday").labels
    parents = {label.name: label.parent for label in labels}
    assert (parents["kitten"], parents["cat"], parents["animal"]) == ("cat", "animal", None)
    assert (parents["stop sign"], parents["traffic sign"]) == ("traffic sign", "sign")
    assert sum(label.parent is not None for label in labels) > 300
    assert sum(bool(label.synonyms) for label in labels) > 150
    # What is broader comes first, so that the file reads as a tree.
    rows = {label.name: row for row, label in enumerate(labels)}
    assert all(rows[parent] < rows[name] for name, parent in parents.items() if parent is not None)


def test_specific_everyday_labels_have_the_right_parent() -> None:
    hierarchy = {label.name: label.parent for label in builtin("everyday").labels}
    kinds = {"husky": "dog", "golden retriever": "retriever", "stingray": "fish", "golf ball": "ball"}
    assert {name: hierarchy[name] for name in kinds} == kinds
    assert hierarchy["retriever"] == "dog"
    # A photograph can show one without the other.
    assert hierarchy["parachute"] is None


def test_everyday_contains_all_names_of_the_labelled_data() -> None:
    if not LABELLED.is_dir():
        pytest.skip("the labelled photographs are not here")
    measured = (LABELLED / "names.txt").read_text(encoding="utf-8").splitlines()
    assert set(measured) <= set(builtin("everyday").names)


def test_no_labelled_image_has_two_labels_of_an_exclusive_group() -> None:
    groups: dict[str, set[str]] = {}
    for label in builtin("everyday").labels:
        if label.exclusive_group is not None:
            groups.setdefault(label.exclusive_group, set()).add(label.name)
    assert {"soccer", "tennis"} <= groups["game"]
    if not LABELLED.is_dir():
        pytest.skip("the labelled photographs are not here")
    for line in (LABELLED / "labels.jsonl").read_text(encoding="utf-8").splitlines():
        shown = set(json.loads(line)["labels"])
        assert all(len(members & shown) <= 1 for members in groups.values()), line


@pytest.mark.parametrize(
    ("texts", "names"),
    [
        (["dog,bicycle"], ("dog", "bicycle")),
        ([" dog , hot  dog ,"], ("dog", "hot dog")),
        (["dog", "cat,cow"], ("dog", "cat", "cow")),
        (['["salt, pepper", " dog "]'], ("salt, pepper", "dog")),
        (['["salt, pepper"]', "dog"], ("salt, pepper", "dog")),
    ],
)
def test_parse_labels_accepts_commas_and_json(texts: list[str], names: tuple[str, ...]) -> None:
    assert parse_labels(texts).names == names


@pytest.mark.parametrize(
    ("texts", "says"),
    [
        ([], "no label"),
        ([""], "no label"),
        ([" , ,"], "no label"),
        (["[]"], "no label"),
        (["dog,cat,Dog"], "twice"),
        (["x" * 10_000], "10,000 characters"),
        ([",".join(f"label {i}" for i in range(20_001))], "20,001"),
        (["[dog]"], "not valid JSON"),
        (["[1]"], "not text"),
        (["[" * 100_000], "not valid JSON"),
    ],
)
def test_unusable_labels_are_rejected_with_a_hint(texts: list[str], says: str) -> None:
    with pytest.raises(InvalidLabelsError, match=says) as caught:
        parse_labels(texts)
    assert caught.value.hint


def test_find_prefers_the_built_in_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("default").write_text("dog\n")
    assert find("default", Settings()) is builtin("default")
    assert find("./default", Settings()).names == ("dog",)
    with pytest.raises(InvalidLabelsError, match="coco81") as caught:
        find("coco81", Settings())
    assert "coco80" in caught.value.hint


def test_find_prefers_registered_names_and_creates_no_database(
    tmp_path: Path, data_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("pets").write_text("dog\n")
    assert find("pets", Settings()).names == ("dog",)
    assert not data_folder.exists()
    registry = VocabularyRegistry.open(Settings())
    registry.put("pets", Vocabulary.from_names(["cat"]))
    registry.close()
    assert find("pets", Settings()).names == ("cat",)
    assert find("./pets", Settings()).names == ("dog",)
    with pytest.raises(InvalidLabelsError, match="cars"):
        find("cars", Settings())
