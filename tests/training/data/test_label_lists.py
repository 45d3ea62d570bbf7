from pathlib import Path

import pytest

from sigrl.training.data.dataset import DataError
from sigrl.training.data.label_lists import naming_pattern, read_label_list, unique


@pytest.mark.parametrize(
    ("label", "text", "names"),
    [
        ("skateboard", "three skateboarders in a park", True),
        ("skateboard", "a boy skateboarding", True),
        ("skateboard", "a skate board on the floor", False),
        ("snowboard", "She snowboards.", True),
        ("umbrella", "Umbrellas!", True),
        ("wine glass", "two wineglasses", True),
        ("wine glass", "a wine-glass", True),
        ("wine glass", "wine in a glass", False),
        ("traffic light", "a TRAFFIC LIGHT", True),
        ("cat", "a catch of fish", False),
        ("cat", "a cattle ranch", False),
        ("cat", "bobcat", False),
        ("cat", "two cats, one bed", True),
        ("train", "a man training", True),
        ("train", "a trainer", True),
        ("train", "strain", False),
        ("kite", "a kitesurfer", False),
        ("fork", "forked", True),
        ("cake", "cakes", True),
        ("couch", "couches", True),
    ],
)
def test_naming_pattern_matches_inflected_names_only(label: str, text: str, names: bool) -> None:
    pattern = naming_pattern([label], {})
    assert pattern is not None
    assert bool(pattern.search(text)) is names


def test_naming_pattern_matches_alternative_names() -> None:
    pattern = naming_pattern(["skateboard", "airplane"], {"skateboard": ["skate board"], "cat": ["kitten"]})
    assert pattern is not None
    assert pattern.search("a skate board")
    assert pattern.search("two skate-boards")
    assert not pattern.search("a kitten")
    assert not pattern.search("an aeroplane")


def test_naming_pattern_escapes_regular_expressions() -> None:
    pattern = naming_pattern(["c.t"], {})
    assert pattern is not None
    assert not pattern.search("cat")


def test_naming_pattern_of_no_labels_is_none() -> None:
    assert naming_pattern([], {"cat": ["kitten"]}) is None


def test_unique_keeps_the_order() -> None:
    assert unique(["b", "", "a", "b"]) == ["b", "a"]


def test_text_file_has_one_name_per_line(tmp_path: Path) -> None:
    path = tmp_path / "names.txt"
    path.write_text("\ufeffDog\n\n  Fire Hydrant \ndog\n", encoding="utf-8")
    assert read_label_list(path) == ["dog", "fire hydrant"]


def test_csv_names_are_read_from_the_second_column(tmp_path: Path) -> None:
    path = tmp_path / "names.csv"
    path.write_text('1,Person\n2,"Sneakers/Trainers"\n3\n4,person\n')
    assert read_label_list(path) == ["person", "sneakers", "trainers"]


def test_non_utf8_file_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "names.txt"
    path.write_bytes("Café".encode("latin-1"))
    with pytest.raises(DataError, match=r"names\.txt is not UTF-8 text"):
        read_label_list(path)


def test_open_images_ids_are_resolved_from_the_file_beside_the_list(tmp_path: Path) -> None:
    (tmp_path / "openimages_class_descriptions.csv").write_text('/m/01,Tortoise\n/m/02,"Salt, pepper"\n')
    path = tmp_path / "openimages_trainable.txt"
    path.write_text("/m/02\n/m/99\n/m/01\n")
    assert read_label_list(path) == ["salt, pepper", "tortoise"]
