"""The photographs that readers make from folders, and those that are left out."""

from collections.abc import Callable
from pathlib import Path

import pytest

from sigrl.training.data.dataset import DataError
from sigrl.training.tasks.everyday import sources
from sigrl.training.tasks.everyday.config import EverydayConfig
from sigrl.training.tasks.everyday.photographs import Photograph
from sigrl.training.tasks.everyday.readers import (
    READERS,
    REPOSITORIES,
    read_clothing,
    read_coco_course,
    read_flickr8k_captions,
    read_houses,
)
from sigrl.training.tasks.everyday.sources import read_names, read_sources, source_table

Config = Callable[..., EverydayConfig]


def of(photographs: list[Photograph], source: str) -> dict[str, Photograph]:
    return {one.path.name: one for one in photographs if one.source == source}


def test_everyday_source_has_dense_labels_and_roles(everyday: Config) -> None:
    dense = of(read_sources(everyday()), "everyday")
    assert dense["D0.jpg"].positive == {"person", "man", "tree"}
    assert dense["D0.jpg"].unsure == {"car"}
    assert [one.role for one in dense.values()].count("test") == 6
    assert all(one.dense for one in dense.values())


def test_coco_labels_are_complete_and_its_second_split_is_test(everyday: Config) -> None:
    coco = of(read_sources(everyday()), "coco")
    assert coco["100.jpg"].coco_positive == {"person", "airplane"}
    assert coco["100.jpg"].coco_known == {"person", "car", "airplane", "cat", "dog"}
    assert coco["100.jpg"].captions == ("a man looks at a plane",)
    assert {one.role for name, one in coco.items() if int(name[:3]) >= 120} == {"test"}


def test_coco_course_knows_18_labels_for_labelled_images(folders: Path) -> None:
    course = {one.path.name: one for one in read_coco_course(folders / "course")}
    assert course["1.jpg"].coco_positive == {"person", "dog"}
    assert len(course["1.jpg"].coco_known) == 18
    assert course["9.jpg"].coco_known == frozenset()
    assert course["9.jpg"].captions == ("An airplane above a red bridge",)


def test_everyday_images_are_removed_from_other_sources(everyday: Config) -> None:
    photographs = read_sources(everyday())
    assert "0.jpg" not in of(photographs, "coco_course")
    assert "1.jpg" in of(photographs, "coco_course")
    assert of(photographs, "everyday")["D0.jpg"].captions == ("A man walks his dog, number 0",)


def test_large_classes_are_sampled_by_seed(everyday: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "_PER_CLASS", {"scenes": 1})
    drawn = [set(of(read_sources(everyday(draw_seed=seed)), "scenes")) for seed in (0, 0, *range(1, 9))]
    assert drawn[0] == drawn[1]
    assert all(len(names) == 3 for names in drawn)
    assert any(names != drawn[0] for names in drawn)


def test_houses_and_clothing_readers_find_the_class(tmp_path: Path) -> None:
    (tmp_path / "Houses Dataset").mkdir()
    (tmp_path / "Houses Dataset" / "7_kitchen.jpg").touch()
    assert [one.folder for one in read_houses(tmp_path)] == ["kitchen"]
    (tmp_path / "images").mkdir()
    for name in "abc":
        (tmp_path / "images" / f"{name}.jpg").touch()
    (tmp_path / "images.csv").write_text("image,sender_id,label,kids\na,1,Hat,False\nb,1,Not sure,False\n")
    assert [(one.path.stem, one.folder) for one in read_clothing(tmp_path)] == [("a", "Hat")]


def test_flickr8k_captions_are_keyed_by_file_name(tmp_path: Path) -> None:
    file = tmp_path / "captions.txt"
    file.write_text("image,caption\n1.jpg,A dog .\n1.jpg,A brown dog runs\n2.jpg,A child\n")
    assert read_flickr8k_captions(file) == {"1.jpg": ("A dog .", "A brown dog runs"), "2.jpg": ("A child",)}


@pytest.mark.parametrize("name", sorted(READERS))
def test_missing_or_empty_folder_is_reported(name: str, tmp_path: Path) -> None:
    for folder in (tmp_path / "absent", tmp_path):
        with pytest.raises(DataError, match=str(folder)):
            READERS[name](folder)


def test_missing_or_damaged_everyday_source_is_reported(everyday: Config, folders: Path) -> None:
    with pytest.raises(DataError, match="absent"):
        read_sources(everyday(everyday=folders / "absent"))
    with pytest.raises(DataError, match=r"names\.txt"):
        read_names(folders / "absent")
    with (folders / "everyday" / "labels.jsonl").open("a") as file:
        file.write('{"id": "X"}\n')
    with pytest.raises(DataError, match="line 13"):
        read_sources(everyday())


def test_invalid_coco_ids_are_rejected(folders: Path) -> None:
    (folders / "course" / "train.csv").write_text("ImageID,Labels,Caption\n1.jpg,1 12,A man\n")
    with pytest.raises(DataError, match="'1 12'"):
        read_coco_course(folders / "course")


def test_source_table_has_a_row_for_each_repository(everyday: Config) -> None:
    table = source_table(read_sources(everyday()))
    assert {row["source"] for row in table} == {"everyday", "coco", "labels of coco", "coco_course", "scenes"}
    (scenes,) = (row for row in table if row["source"] == "scenes")
    assert scenes["photographs"] == 6
    assert scenes["terms"] == "SUN: research use"


def test_every_source_repository_has_an_origin() -> None:
    photographs = [
        Photograph(Path("1.jpg"), name, repository, "1.jpg", captions=("a dog",))
        for name, repository in REPOSITORIES.items()
    ]
    assert len(source_table(photographs)) == len(REPOSITORIES) + 1
    with pytest.raises(DataError, match="nobody/nothing"):
        source_table([Photograph(Path("1.jpg"), "scenes", "nobody/nothing", "1.jpg")])
