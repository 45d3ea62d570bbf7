"""COCO's labels for photographs that lost their ids."""

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sigrl.training.data.dataset import DataError
from sigrl.training.tasks.everyday.config import EverydayConfig
from sigrl.training.tasks.everyday.photographs import Photograph
from sigrl.training.tasks.everyday.published_labels import (
    possible_places,
    read_published_labels,
    with_published_labels,
)
from sigrl.training.tasks.everyday.readers import FIRST_LABELS
from sigrl.training.tasks.everyday.sources import read_sources, source_table

NAMES = (*sorted(FIRST_LABELS), "cup", "pizza")


def course(number: int, *labels: str, caption: str | None = None) -> Photograph:
    return Photograph(
        Path(f"{number}.jpg"),
        "coco_course",
        "somebody/course",
        f"data/{number}.jpg",
        coco_positive=frozenset(labels),
        coco_known=FIRST_LABELS,
        captions=(caption or f"caption {number}",),
    )


def identified(coco_id: int, caption: str) -> Photograph:
    path = Path(f"COCO_train2014_{coco_id:012}.jpg")
    return Photograph(path, "coco", "somebody/coco", path.name, captions=(caption,))


def labels(*names: str) -> frozenset[str]:
    return frozenset(names)


PUBLISHED = {
    10: labels("dog", "pizza"),
    12: labels("cat"),
    14: labels("person", "cup"),
    16: labels("person", "pizza"),
    18: labels("cup"),
    20: labels("dog"),
}
ENDS = [identified(10, "caption 0"), identified(20, "caption 9")]


def test_order_and_own_labels_decide_which_published_labels_are_a_photograph_s() -> None:
    photographs = [course(0, "dog"), course(3, "cat"), course(5, "person"), course(9, "dog")]
    told = with_published_labels(photographs, ENDS, PUBLISHED, NAMES)
    assert told[0].coco_positive == {"dog", "pizza"}
    assert told[0].coco_known == set(NAMES)
    assert told[1].coco_positive == {"cat"}
    # Two ids are possible, which agree on neither cup nor pizza.
    assert told[2].coco_positive == {"person"}
    assert told[2].coco_known == FIRST_LABELS


def test_every_photograph_between_two_known_ones_needs_a_place_of_its_own() -> None:
    photographs = [course(0, "dog"), course(4, "person"), course(5, "person"), course(9, "dog")]
    told = with_published_labels(photographs, ENDS, PUBLISHED, NAMES)
    assert told[1].coco_positive == {"person", "cup"}
    assert told[2].coco_positive == {"person", "pizza"}


@pytest.mark.parametrize(
    "between",
    [
        pytest.param([course(4, "horse")], id="no id has these labels"),
        pytest.param([course(4, "person"), course(5, "cat")], id="another order"),
        pytest.param([replace(course(4), coco_known=labels(), coco_positive=labels())], id="no own labels"),
    ],
)
def test_photographs_that_fit_nowhere_keep_their_own_labels(between: list[Photograph]) -> None:
    photographs = [course(0, "dog"), *between, course(9, "dog")]
    told = with_published_labels(photographs, ENDS, PUBLISHED, NAMES)
    assert told[1:-1] == between


@pytest.mark.parametrize(
    ("photographs", "known"),
    [
        ([course(0, "cat"), course(4, "person"), course(9, "dog")], ENDS),
        ([course(0, "dog"), course(4, "person"), course(9, "dog", caption="caption 0")], ENDS),
        ([course(0, "dog"), course(4, "person"), course(9, "dog")], ENDS[:1]),
        ([course(0, "dog"), course(4, "person")], []),
    ],
    ids=["other labels", "a caption that occurs twice", "known on one side", "none known"],
)
def test_nothing_is_concluded_without_a_known_photograph_on_either_side(
    photographs: list[Photograph], known: list[Photograph]
) -> None:
    told = with_published_labels(photographs, known, PUBLISHED, NAMES)
    assert told[1].coco_known == FIRST_LABELS


def test_known_photographs_out_of_order_are_not_used() -> None:
    own = [course(0, "dog"), course(4, "person"), course(5, "person"), course(6, "cat"), course(9, "dog")]
    known = [*ENDS, identified(14, "caption 4"), identified(16, "caption 5"), identified(12, "caption 6")]
    told = with_published_labels(own, known, PUBLISHED, NAMES)
    assert told[1].coco_positive == {"person", "cup"}
    assert told[2].coco_positive == {"person", "pizza"}
    assert told[3] == own[3]


def test_photograph_without_a_number_is_reported() -> None:
    unnumbered = replace(course(0, "dog"), path=Path("holiday.jpg"))
    with pytest.raises(DataError, match=r"holiday\.jpg has no number"):
        with_published_labels([unnumbered], ENDS, PUBLISHED, NAMES)


def test_possible_places_are_those_of_all_rising_choices() -> None:
    draw = random.Random(0)
    for _ in range(200):
        items, count = draw.randint(1, 4), draw.randint(1, 6)
        fits = np.array([[draw.random() < 0.6 for _ in range(count)] for _ in range(items)])
        expected = np.zeros_like(fits)
        for choice in _rising_choices(items, count):
            if all(fits[item, place] for item, place in enumerate(choice)):
                expected[range(items), choice] = True
        assert np.array_equal(possible_places(fits), expected)


def _rising_choices(items: int, count: int, first: int = 0) -> list[list[int]]:
    if not items:
        return [[]]
    return [
        [place, *rest]
        for place in range(first, count)
        for rest in _rising_choices(items - 1, count, place + 1)
    ]


def test_published_labels_are_read_from_both_files(tmp_path: Path) -> None:
    (tmp_path / "train_cls.txt").write_text("COCO_train2014_000000000009 0 2\nCOCO_train2014_000000000025\n")
    (tmp_path / "val_cls.txt").write_text("COCO_val2014_000000000042 1\n")
    published = read_published_labels(tmp_path, ("person", "bicycle", "car"))
    assert published == {9: {"person", "car"}, 25: set(), 42: {"bicycle"}}


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, "train_cls.txt does not exist: correct `coco_labels`"),
        ("COCO_train2014_000000000009 7\n", "train_cls.txt is not a list of COCO's labels"),
        ("photograph 0\n", "train_cls.txt is not a list of COCO's labels"),
        ("\n", "train_cls.txt is not a list of COCO's labels"),
    ],
)
def test_missing_or_malformed_published_labels_are_reported(
    tmp_path: Path, content: str | None, expected: str
) -> None:
    if content is not None:
        (tmp_path / "train_cls.txt").write_text(content)
    with pytest.raises(DataError, match=expected):
        read_published_labels(tmp_path, ("person", "bicycle", "car"))


def test_a_run_with_published_labels_says_where_they_are_from(
    everyday: Callable[..., EverydayConfig], folders: Path
) -> None:
    lists = folders / "lists"
    lists.mkdir()
    (lists / "train_cls.txt").write_text("COCO_train2014_000000000009 0\n")
    (lists / "val_cls.txt").write_text("COCO_val2014_000000000042 1\n")
    photographs = read_sources(everyday(coco_labels=lists))
    # No caption of the course is COCO's, so that nothing is concluded.
    assert photographs == read_sources(everyday())
    told = [replace(one, coco_known=one.coco_known | {"cup"}) for one in photographs if one.coco_known]
    assert ("labels of coco_course", "PengtaoJiang/L2G") in {
        (row["source"], row["repository"]) for row in source_table(told)
    }
