import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from vocabulary_strategies import vocabularies

from sigrl.model.vocabulary import MAX_LABELS, Label, Vocabulary, VocabularyError


def test_names_are_trimmed_and_whitespace_collapsed() -> None:
    assert Vocabulary.from_names(["  hot \t dog ", "cafe\u0301"]).names == ("hot dog", "café")


@pytest.mark.parametrize(
    ("name", "cleaned"),
    [
        ("ca\u200bt", "cat"),
        ("\ufeffcat", "cat"),
        ("hot\u00ad dog\u2060", "hot dog"),
        ("c\u200dat\u200c", "cat"),
        ("cat\U000e0063\u3164", "cat"),
        ("\u0645\u06cc\u200c\u062e", "\u0645\u06cc\u200c\u062e"),
        ("\U0001f469\u200d\U0001f680", "\U0001f469\u200d\U0001f680"),
    ],
)
def test_what_cannot_be_seen_is_no_part_of_a_name(name: str, cleaned: str) -> None:
    assert Vocabulary.from_names([name]).names == (cleaned,)
    with pytest.raises(VocabularyError, match="twice"):
        Vocabulary.from_names([name, cleaned])


@pytest.mark.parametrize(
    ("names", "says"),
    [
        ([], "at least one"),
        (["dog", "  "], "empty"),
        (["x" * 10_000], "10,000 characters"),
        (["do\x00g"], "U+0000"),
        (["dog\u202egod"], "U+202E"),
        (["dog", "dog"], "'dog' is there twice: remove"),
        (["Hot Dog", "hot  dog"], "'hot dog' is there twice, also as 'Hot Dog'"),
        (["strasse", "Straße"], "twice"),
        (["\ud800"], "U+D800"),
        ([f"label {i}" for i in range(MAX_LABELS + 1)], "20,001 labels"),
        ([3], "labels.0"),
        ("dog", "list of names"),
    ],
)
def test_unusable_names_are_rejected_naming_the_label(names: list[str], says: str) -> None:
    with pytest.raises(VocabularyError) as caught:
        Vocabulary.from_names(names)
    assert says in str(caught.value)
    assert len(str(caught.value)) < 300


def test_twenty_thousand_labels_are_allowed() -> None:
    assert len(Vocabulary.from_names([f"label {i}" for i in range(MAX_LABELS)]).names) == MAX_LABELS


def test_content_hash_depends_only_on_the_labels() -> None:
    plain = Vocabulary.from_names(["dog", "cat"])
    assert plain.content_hash.startswith("sha256:")
    assert plain.content_hash == Vocabulary.from_names([" dog", "cat "], name="pets").content_hash
    assert plain.content_hash == Vocabulary(labels=(Label(name="dog"), Label(name="cat"))).content_hash
    others = [
        Vocabulary.from_names(["cat", "dog"]),
        Vocabulary(labels=(Label(name="dog", synonyms=("puppy",)), Label(name="cat"))),
        Vocabulary(labels=(Label(name="dog", threshold=0.5), Label(name="cat"))),
    ]
    assert len({plain.content_hash, *(other.content_hash for other in others)}) == 4


def test_only_the_english_translation_changes_the_content_hash() -> None:
    plain = Vocabulary.from_names(["dog", "cat"])

    def translated(**words: str) -> Vocabulary:
        return Vocabulary(labels=(Label(name="dog", translations=words), Label(name="cat")))

    assert translated(de="Hund").content_hash == plain.content_hash
    english = translated(en="hound")
    assert english.content_hash != plain.content_hash
    assert translated(en="hound", fr="chien").content_hash == english.content_hash


def test_hash_is_stable_between_releases() -> None:
    expected = "sha256:09de08a4a0547f0f1f561c346e3e52475fe92e4113938b84978d8b5df823b09f"
    assert Vocabulary.from_names(["dog", "cat"]).content_hash == expected


def test_texts_fill_templates_with_name_and_synonyms() -> None:
    label = Label(name="sofa", synonyms=("couch",))
    assert label.texts(["a {label}", "{label}"]) == ("a sofa", "a couch", "sofa", "couch")


def test_own_prompts_replace_templates_without_string_formatting() -> None:
    label = Label(name="mouse", prompts=("a computer {label} {label.__class__} {0}", "a pointing device"))
    assert label.texts(["a {label}"]) == ("a computer mouse {label.__class__} {0}", "a pointing device")


def test_unknown_parents_and_parent_cycles_are_rejected() -> None:
    Vocabulary.from_json('[{"name": "poodle", "parent": "Dog"}, "dog"]')
    with pytest.raises(VocabularyError, match="'dog' of 'poodle' is not in"):
        Vocabulary.from_json('[{"name": "poodle", "parent": "dog"}]')
    with pytest.raises(VocabularyError, match="cycle"):
        Vocabulary.from_json('[{"name": "a", "parent": "b"}, {"name": "b", "parent": "a"}]')


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "not valid JSON"),
        ("[" * 100_000, "not valid JSON"),
        ("3", "JSON object"),
        ("{}", "labels"),
        ('{"labels": ["dog"], "lables": []}', "lables"),
        ('[{"name": "dog", "threshold": 1.5}]', "threshold"),
        ('[{"synonyms": ["dog"]}]', "name"),
        ('[{"name": "dog", "prompts": [" "]}]', "prompt is empty"),
        (r'[{"name": "dog", "prompts": ["\ud800"]}]', "unicode"),
    ],
)
def test_invalid_json_is_reported_with_its_position(text: str, says: str) -> None:
    with pytest.raises(VocabularyError) as caught:
        Vocabulary.from_json(text)
    assert says in str(caught.value)


def test_load_reads_json_and_text_files(tmp_path: Path) -> None:
    listed = tmp_path / "pets.txt"
    listed.write_bytes(b"\xef\xbb\xbf# our pets\r\ndog\r\n\r\n  guinea pig \r\n")
    assert Vocabulary.load(listed).names == ("dog", "guinea pig")
    assert Vocabulary.load(listed).name == "pets"

    described = tmp_path / "zoo.json"
    described.write_text(
        json.dumps({"name": "animals", "labels": ["dog", {"name": "cat", "threshold": 0.3}]})
    )
    loaded = Vocabulary.load(described)
    assert (loaded.name, loaded.labels[1].threshold) == ("animals", 0.3)

    again = tmp_path / "again"
    again.write_text(loaded.model_dump_json())
    assert Vocabulary.load(again).content_hash == loaded.content_hash


def test_load_names_the_file_in_every_error(tmp_path: Path) -> None:
    photograph = tmp_path / "photo.jpg"
    photograph.write_bytes(b"\xff\xd8\xff\xe0")
    empty = tmp_path / "empty.txt"
    empty.write_text("# nothing\n")
    for path in (photograph, empty, tmp_path / "absent.txt", tmp_path):
        with pytest.raises(VocabularyError) as caught:
            Vocabulary.load(path)
        assert str(path) in str(caught.value)


def test_imports_without_torch() -> None:
    code = "import sys, sigrl.model.vocabulary, sigrl.model.preprocess; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_translations_are_keyed_by_language_tag() -> None:
    label = Vocabulary.from_json(
        '[{"name": "dog", "translations": {"de": " Hund ", "pt-BR": "cão"}}]'
    ).labels[0]
    assert dict(label.translations) == {"de": "Hund", "pt-BR": "cão"}
    for language in ("German", "", "d", "de_DE", "DE", "de-" + "a" * 9):
        with pytest.raises(VocabularyError, match="is not a language"):
            Vocabulary.from_json(json.dumps([{"name": "dog", "translations": {language: "Hund"}}]))
    with pytest.raises(VocabularyError, match="empty"):
        Vocabulary.from_json('[{"name": "dog", "translations": {"de": " "}}]')


def test_texts_hash_changes_only_with_text_tower_inputs() -> None:
    plain = Vocabulary.from_names(["dog", "animal"])
    assert plain.texts_hash == plain.content_hash
    unseen = {"threshold": 0.5, "parent": "animal", "description": "barks"}
    for field, value in unseen.items():
        changed = Vocabulary(labels=(Label(name="dog", **{field: value}), Label(name="animal")))
        assert changed.texts_hash == plain.texts_hash
        assert changed.content_hash != plain.content_hash
    for field in ("synonyms", "prompts"):
        changed = Vocabulary(labels=(Label(name="dog", **{field: ("hound",)}), Label(name="animal")))
        assert changed.texts_hash != plain.texts_hash


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"precision": 0.8, "recall": 0.8}, "both a precision and a recall"),
        ({"precision": 0}, "greater than 0"),
        ({"recall": 1}, "less than 1"),
        ({"precision": "high"}, "valid number"),
    ],
)
def test_invalid_precision_or_recall_is_rejected(settings: dict[str, object], says: str) -> None:
    with pytest.raises(VocabularyError, match=says):
        Vocabulary.from_json(json.dumps({"labels": ["dog"], **settings}))


@given(vocabularies())
def test_vocabulary_round_trips_through_json(vocabulary: Vocabulary) -> None:
    for text in (vocabulary.model_dump_json(), vocabulary.model_dump_json(exclude_defaults=True)):
        again = Vocabulary.from_json(text)
        assert again == vocabulary
        assert again.content_hash == vocabulary.content_hash
        assert again.texts_hash == vocabulary.texts_hash
