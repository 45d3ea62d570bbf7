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


def test_names_and_synonyms_in_any_spelling_are_the_label(write, tmp_path: Path) -> None:
    path = write("a.jpg,HOUND;cat,", "sub/b.jpg,  cafe\u0301 ,puppy", "c.jpg,,")
    photographs = read_folder(tmp_path / "photos", path, VOCABULARY)
    assert photographs.label_names == ("Dog", "cat", "café")
    assert photographs.ids == ("a.jpg", "sub/b.jpg", "c.jpg")
    assert photographs.image_paths[1] == tmp_path / "photos" / "sub" / "b.jpg"
    np.testing.assert_array_equal(photographs.labels, [[1, 1, 0], [-1, 0, 1], [0, 0, 0]])


def test_complete_labels_leave_nothing_unknown(write, tmp_path: Path) -> None:
    photographs = read_folder(tmp_path, write("a.jpg,dog,", "b.jpg,,"), VOCABULARY, complete=True)
    np.testing.assert_array_equal(photographs.labels, [[1, -1, -1], [-1, -1, -1]])


def test_several_lines_of_a_photograph_add_up(write, tmp_path: Path) -> None:
    photographs = read_folder(tmp_path, write("a.jpg,dog,", "b.jpg,cat,", "./a.jpg,puppy,cat"), VOCABULARY)
    assert photographs.ids == ("a.jpg", "b.jpg")
    np.testing.assert_array_equal(photographs.labels, [[1, -1, 0], [0, 1, 0]])


@pytest.mark.parametrize("lines", [["a.jpg,dog,puppy"], ["a.jpg,dog,", "a.jpg,,hound"]])
def test_a_label_cannot_hold_and_not_hold(write, tmp_path: Path, lines: list[str]) -> None:
    with pytest.raises(DataError, match=rf"csv:{len(lines) + 1}: .* both positive and negative for a\.jpg"):
        read_folder(tmp_path, write(*lines), VOCABULARY)


def test_labels_that_contradict_one_another_can_be_skipped(write, tmp_path: Path) -> None:
    problems: list[Problem] = []
    path = write("a.jpg,dog;cat,puppy", "b.jpg,dog,")
    photographs = read_folder(tmp_path, path, VOCABULARY, complete=True, on_problem=problems.append)
    np.testing.assert_array_equal(photographs.labels, [[0, 1, -1], [1, -1, -1]])
    assert [(problem.kind, problem.subject) for problem in problems] == [("contradictory labels", "a.jpg")]


def test_without_a_vocabulary_the_labels_are_the_files(write, tmp_path: Path) -> None:
    photographs = read_folder(tmp_path, write("a.jpg,sea;Dog,", "b.jpg,dog,beach"))
    assert photographs.label_names == ("beach", "Dog", "sea")
    np.testing.assert_array_equal(photographs.labels, [[0, 1, 1], [-1, 1, 0]])
    with pytest.raises(DataError, match="name no label"):
        read_folder(tmp_path, write("a.jpg,,"))


def test_a_label_outside_the_vocabulary_stops_or_is_skipped(write, tmp_path: Path) -> None:
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


def test_a_word_for_two_labels_is_told(write, tmp_path: Path) -> None:
    vocabulary = Vocabulary(labels=(Label(name="jaguar"), Label(name="car", synonyms=("Jaguar",))))
    with pytest.raises(DataError, match="'Jaguar' for both 'jaguar' and 'car'"):
        read_folder(tmp_path, write("a.jpg,car,"), vocabulary)


def numbered(count: int) -> LabelledPhotographs:
    ids = tuple(f"{number}.jpg" for number in range(count))
    labels = np.zeros((count, 1), dtype=np.int8)
    return LabelledPhotographs(tuple(Path(one) for one in ids), ("dog",), labels, ids)


def test_a_photograph_stays_on_its_side_when_others_are_added() -> None:
    train, validation = split_by_name(numbered(500), 0.2, seed=3)
    more_train, more_validation = split_by_name(numbered(1000), 0.2, seed=3)
    assert set(train.ids) <= set(more_train.ids)
    assert set(validation.ids) <= set(more_validation.ids)
    assert len(train) + len(validation) == 500
    assert 160 < len(more_validation) < 240


def test_the_split_is_the_same_on_every_machine_and_another_for_another_seed() -> None:
    splits = [split_by_name(numbered(20), 0.3, seed)[1].ids for seed in (0, 0, 1)]
    assert splits[0] == splits[1] == ("2.jpg", "8.jpg", "9.jpg", "17.jpg", "19.jpg")
    assert splits[2] != splits[0]


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_split_with_an_empty_side_is_told(share: float) -> None:
    with pytest.raises(DataError, match="leaves one side empty with 20 photographs"):
        split_by_name(numbered(20), share, seed=0)


def test_photographs_without_ids_cannot_be_split_by_them() -> None:
    photographs = numbered(2)
    with pytest.raises(ValueError, match="these photographs do not have"):
        split_by_name(LabelledPhotographs(photographs.image_paths, ("dog",), photographs.labels), 0.5, 0)


def test_two_spellings_of_one_file_are_one_photograph(tmp_path: Path) -> None:
    (tmp_path / "cafe\u0301.jpg").touch()
    rows = [
        LabelledFile("caf\u00e9.jpg", ("dog",), (), "labels.csv:2"),
        LabelledFile("CAF\u00c9.JPG", ("cat",), (), "labels.csv:3"),
    ]
    photographs = label_photographs(tmp_path, rows)
    assert photographs.image_paths == (tmp_path / "cafe\u0301.jpg",)
    assert photographs.ids == ("caf\u00e9.jpg",)
    assert photographs.labels.tolist() == [[1, 1]]
