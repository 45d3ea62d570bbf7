"""The common form of photographs: a selection keeps all columns of a photograph together."""

from pathlib import Path

import numpy as np
import pytest

from sigrl.training.data.dataset import DataError, LabelledPhotographs, Problem, stop

LABELS = np.array([[1, 0], [-1, -1], [0, 1]], dtype=np.int8)


@pytest.fixture
def photographs() -> LabelledPhotographs:
    paths = tuple(Path(f"{name}.jpg") for name in "abc")
    return LabelledPhotographs(paths, ("cat", "dog"), LABELS, ("a", "b", "c"), ("A cat.", None, "A dog."))


@pytest.mark.parametrize("rows", [[2, 0], np.array([2, 0])])
def test_select_returns_rows_in_the_requested_order(photographs: LabelledPhotographs, rows) -> None:
    chosen = photographs.select(np.asarray(rows))
    assert chosen.image_paths == (Path("c.jpg"), Path("a.jpg"))
    assert chosen.ids == ("c", "a")
    assert chosen.captions == ("A dog.", "A cat.")
    assert chosen.label_names == photographs.label_names
    np.testing.assert_array_equal(chosen.labels, LABELS[[2, 0]])


def test_select_accepts_a_mask_and_an_empty_selection(photographs: LabelledPhotographs) -> None:
    assert photographs.select(np.array([False, True, False])).ids == ("b",)
    nothing = photographs.select(np.zeros(3, dtype=bool))
    assert len(nothing) == 0
    assert nothing.labels.shape == (0, 2)


def test_select_labels_returns_the_requested_order(photographs: LabelledPhotographs) -> None:
    chosen = photographs.select_labels(["dog", "cat"])
    assert chosen.label_names == ("dog", "cat")
    np.testing.assert_array_equal(chosen.labels, LABELS[:, ::-1])
    assert chosen.ids == photographs.ids
    with pytest.raises(DataError, match=r"no label 'bird' \(1 of 2"):
        photographs.select_labels(["dog", "bird"])


def test_with_positives_ignores_unknown_and_negative_labels(photographs: LabelledPhotographs) -> None:
    assert photographs.with_positives().ids == ("a", "c")


def test_mismatched_shapes_are_rejected(photographs: LabelledPhotographs) -> None:
    paths, names = photographs.image_paths, photographs.label_names
    for labels in (LABELS.astype(np.float32), LABELS.T):
        with pytest.raises(ValueError, match=r"labels are int8 \(3, 2\)"):
            LabelledPhotographs(paths, names, labels)
    with pytest.raises(ValueError, match="2 ids for 3 photographs"):
        LabelledPhotographs(paths, names, LABELS, ("a", "b"))


def test_default_problem_handler_raises() -> None:
    with pytest.raises(DataError, match=r"^do this$"):
        stop(Problem("missing file", "a.jpg", "do this"))
