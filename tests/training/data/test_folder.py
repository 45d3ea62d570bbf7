"""Own data: synonyms, partial labels, and a split that does not change when photographs are added."""

from pathlib import Path

import numpy as np
import pytest

from sigrl.model.labelled_files import LabelledFile
from sigrl.model.vocabulary import Label, Vocabulary
from sigrl.training.data.dataset import DataError, LabelledPhotographs, Problem
from sigrl.training.data.folder import label_photographs, read_folder, split_by_name

VOCABULARY = Vocabulary(
    name="pets",
    labels=(Label(name="Dog", synonyms=("hound", "puppy")), Label(name="cat"), Label(name="café")),
)


@pytest.fixture
def write(tmp_path: Path):
    def call(*lines: str) -> Path:
        path = tmp_path / "labels.csv"
        path.write_text("\n".join(["image,positive,negative", *lines]) + "\n", encoding="utf-8")
        return path

    return call


def test_names_and_synonyms_match_in_any_case_and_unicode_form(write, tmp_path: Path) -> None:
    path = write("a.jpg,HOUND;cat,", "sub/b.jpg,  cafe\u0301 ,puppy", "c.jpg,,")
    photographs = read_folder(tmp_path / "photos", path, VOCABULARY)
    assert photographs.label_names == ("Dog", "cat", "café")
    assert photographs.ids == ("a.jpg", "sub/b.jpg", "c.jpg")
    assert photographs.image_paths[1] == tmp_path / "photos" / "sub" / "b.jpg"
    np.testing.assert_array_equal(photographs.labels, [[1, 1, 0], [-1, 0, 1], [0, 0, 0]])


def test_complete_labels_make_all_others_negative(write, tmp_path: Path) -> None:
    photographs = read_folder(tmp_path, write("a.jpg,dog,", "b.jpg,,"), VOCABULARY, complete=True)
    np.testing.assert_array_equal(photographs.labels, [[1, -1, -1], [-1, -1, -1]])


def test_several_lines_for_one_image_are_merged(write, tmp_path: Path) -> None:
    photographs = read_folder(tmp_path, write("a.jpg,dog,", "b.jpg,cat,", "./a.jpg,puppy,cat"), VOCABULARY)
    assert photographs.ids == ("a.jpg", "b.jpg")
    np.testing.assert_array_equal(photographs.labels, [[1, -1, 0], [0, 1, 0]])


@pytest.mark.parametrize("lines", [["a.jpg,dog,puppy"], ["a.jpg,dog,", "a.jpg,,hound"]])
def test_label_both_positive_and_negative_is_rejected(write, tmp_path: Path, lines: list[str]) -> None:
    with pytest.raises(DataError, match=rf"csv:{len(lines) + 1}: .* both positive and negative for a\.jpg"):
        read_folder(tmp_path, write(*lines), VOCABULARY)


def test_contradictory_labels_can_be_skipped(write, tmp_path: Path) -> None:
    problems: list[Problem] = []
    path = write("a.jpg,dog;cat,puppy", "b.jpg,dog,")
    photographs = read_folder(tmp_path, path, VOCABULARY, complete=True, on_problem=problems.append)
    np.testing.assert_array_equal(photographs.labels, [[0, 1, -1], [1, -1, -1]])
    assert [(problem.kind, problem.subject) for problem in problems] == [("contradictory labels", "a.jpg")]


def test_without_a_vocabulary_labels_come_from_the_file(write, tmp_path: Path) -> None:
    photographs = read_folder(tmp_path, write("a.jpg,sea;Dog,", "b.jpg,dog,beach"))
    assert photographs.label_names == ("beach", "Dog", "sea")
    np.testing.assert_array_equal(photographs.labels, [[0, 1, 1], [-1, 1, 0]])
    with pytest.raises(DataError, match="name no label"):
        read_folder(tmp_path, write("a.jpg,,"))


def test_label_outside_the_vocabulary_is_an_error_or_skipped(write, tmp_path: Path) -> None:
    path = write("a.jpg,dog;bird,", "b.jpg,,Bird", "c.jpg,cat,")
    with pytest.raises(DataError, match=r"csv:2: 'bird' is not a label of the vocabulary 'pets': add it"):
        read_folder(tmp_path, path, VOCABULARY)
    problems: list[Problem] = []
    photographs = read_folder(tmp_path, path, VOCABULARY, on_problem=problems.append)
    np.testing.assert_array_equal(photographs.labels, [[1, 0, 0], [0, 0, 0], [0, 1, 0]])
    assert [(problem.kind, problem.subject) for problem in problems] == [
        ("label outside the vocabulary", "bird"),
        ("label outside the vocabulary", "Bird"),
    ]


def test_word_that_names_two_labels_is_reported(write, tmp_path: Path) -> None:
    vocabulary = Vocabulary(labels=(Label(name="jaguar"), Label(name="car", synonyms=("Jaguar",))))
    with pytest.raises(DataError, match="'Jaguar' for both 'jaguar' and 'car'"):
        read_folder(tmp_path, write("a.jpg,car,"), vocabulary)


def numbered(count: int) -> LabelledPhotographs:
    ids = tuple(f"{number}.jpg" for number in range(count))
    labels = np.zeros((count, 1), dtype=np.int8)
    return LabelledPhotographs(tuple(Path(one) for one in ids), ("dog",), labels, ids)


def test_split_keeps_existing_images_when_others_are_added() -> None:
    train, validation = split_by_name(numbered(500), 0.2, seed=3)
    more_train, more_validation = split_by_name(numbered(1000), 0.2, seed=3)
    assert set(train.ids) <= set(more_train.ids)
    assert set(validation.ids) <= set(more_validation.ids)
    assert len(train) + len(validation) == 500
    assert 160 < len(more_validation) < 240


def test_split_depends_only_on_the_seed() -> None:
    splits = [split_by_name(numbered(20), 0.3, seed)[1].ids for seed in (0, 0, 1)]
    assert splits[0] == splits[1] == ("2.jpg", "8.jpg", "9.jpg", "17.jpg", "19.jpg")
    assert splits[2] != splits[0]


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_split_with_an_empty_part_is_rejected(share: float) -> None:
    with pytest.raises(DataError, match="leaves one side empty with 20 photographs"):
        split_by_name(numbered(20), share, seed=0)


def test_split_by_name_requires_ids() -> None:
    photographs = numbered(2)
    with pytest.raises(ValueError, match="these photographs do not have"):
        split_by_name(LabelledPhotographs(photographs.image_paths, ("dog",), photographs.labels), 0.5, 0)


def test_two_spellings_of_a_file_name_are_one_image(tmp_path: Path) -> None:
    (tmp_path / "cafe\u0301.jpg").touch()
    rows = [
        LabelledFile("caf\u00e9.jpg", ("dog",), (), "labels.csv:2"),
        LabelledFile("CAF\u00c9.JPG", ("cat",), (), "labels.csv:3"),
    ]
    photographs = label_photographs(tmp_path, rows)
    assert photographs.image_paths == (tmp_path / "cafe\u0301.jpg",)
    assert photographs.ids == ("caf\u00e9.jpg",)
    assert photographs.labels.tolist() == [[1, 1]]
