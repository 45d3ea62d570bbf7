"""The photographs that a model tags best and worst."""

from pathlib import Path

import numpy as np

from sigrl.training.data.dataset import LabelledPhotographs
from sigrl.training.measures.best_and_worst import best_and_worst
from sigrl.training.measures.report import EvaluatedPhotograph


def judge(scores: list[list[float]], labels: list[list[int]]) -> tuple[list[int], list[int]]:
    best, worst = rank(scores, labels)
    return [int(one.path.stem) for one in best], [int(one.path.stem) for one in worst]


def rank(
    scores: list[list[float]], labels: list[list[int]]
) -> tuple[list[EvaluatedPhotograph], list[EvaluatedPhotograph]]:
    matrix = np.array(labels, dtype=np.int8)
    paths = tuple(Path(f"{number}.jpg") for number in range(len(labels)))
    names = tuple("abcdefgh"[: matrix.shape[1]])
    values = np.array(scores)
    return best_and_worst(values, values / 10, LabelledPhotographs(paths, names, matrix))


def test_no_image_is_both_best_and_worst() -> None:
    order = [3.0, 2.0, 1.0]
    assert judge([order] * 3, [[-1, 1, -1], [-1, -1, 1], [1, -1, -1]]) == ([2, 0], [1])
    assert judge([order], [[1, -1, -1]]) == ([0], [])
    best, worst = judge([order] * 30, [[1, -1, -1]] * 15 + [[-1, -1, 1]] * 15)
    assert (len(best), len(worst)) == (6, 6)
    assert max(best) < 15 <= min(worst)


def test_ties_are_ordered_by_number_of_labels() -> None:
    order = [3.0, 2.0, 1.0]
    assert judge([order] * 4, [[1, -1, -1], [1, 1, -1], [-1, -1, 1], [1, 1, -1]]) == ([1, 3], [2, 0])


def test_images_that_cannot_be_misranked_are_excluded() -> None:
    assert judge([[2.0, 1.0]] * 4, [[1, 0], [0, 0], [-1, -1], [1, 1]]) == ([], [])


def test_image_lists_its_true_labels_and_top_tags() -> None:
    ((photograph,), _) = rank([[1.0, 6, 2, 3, 4, 5, 7]], [[1, -1, 1, 0, -1, 1, 0]])
    assert photograph.true_labels == ["a", "c", "f"]
    assert [(tag.label, tag.holds) for tag in photograph.tags] == [
        ("g", None),
        ("b", False),
        ("f", True),
        ("e", False),
        ("d", None),
    ]
    assert photograph.tags[0].probability == 0.7
    # b f e c a, without the unknown ones.
    assert photograph.average_precision == 100 * (1 / 2 + 2 / 4 + 3 / 5) / 3
