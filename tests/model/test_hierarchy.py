import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from vocabulary_strategies import vocabularies

from sigrl.model.hierarchy import MAX_LEVELS
from sigrl.model.vocabulary import Label, Vocabulary, VocabularyError


def _vocabulary(*labels: Label | str) -> Vocabulary:
    return Vocabulary(labels=tuple(Label(name=each) if isinstance(each, str) else each for each in labels))


PETS = _vocabulary(
    Label(name="cat", parent="Animal", exclusive_group="kind"),
    Label(name="kitten", parent="cat"),
    "animal",
    Label(name="dog", parent="animal", exclusive_group="kind"),
    "sofa",
)


def test_child_probability_raises_only_its_ancestors():
    chain = _vocabulary(
        Label(name="poodle", parent="dog"), Label(name="dog", parent="animal"), "animal", "cat"
    )
    settled = chain.hierarchy.settle(np.array([[0.9, 0.2, 0.5, 0.1], [0.1, 0.2, 0.5, 0.9]]))
    np.testing.assert_array_equal(settled, [[0.9, 0.9, 0.9, 0.1], [0.1, 0.2, 0.5, 0.9]])


def test_exclusive_labels_and_their_children_share_one_probability():
    settled = PETS.hierarchy.settle(np.array([0.1, 0.75, 0.0, 0.8, 0.3]))
    np.testing.assert_allclose(settled, [0.2, 0.2, 0.8, 0.8, 0.3], rtol=0, atol=1e-12)


def test_first_of_two_equal_exclusive_labels_is_kept():
    day = _vocabulary(Label(name="day", exclusive_group="time"), Label(name="night", exclusive_group="time"))
    np.testing.assert_allclose(day.hierarchy.settle(np.array([[0.9, 0.9]])), [[0.9, 0.1]])
    assert day.hierarchy.accept(np.array([[0.9, 0.9]]), np.array([0.5, 0.5])).tolist() == [[True, False]]


def test_at_most_one_exclusive_label_is_accepted_at_any_threshold():
    probabilities = np.array([[0.45, 0.4, 0.5, 0.5, 0.3]])
    accepted = PETS.hierarchy.accept(probabilities, np.full(5, 0.2))
    assert accepted.tolist() == [[False, False, True, True, True]]


def test_accepted_child_accepts_its_ancestors_at_any_threshold():
    probabilities = np.array([0.6, 0.6, 0.6, 0.1, 0.0])
    accepted = PETS.hierarchy.accept(probabilities, np.array([0.9, 0.5, 0.99, 0.5, 0.5]))
    assert accepted.tolist() == [True, True, True, False, False]


def test_settle_returns_labels_without_relations_unchanged():
    probabilities = np.array([[0.3, 0.7]], np.float32)
    assert _vocabulary("dog", "cat").hierarchy.settle(probabilities) is probabilities


@given(vocabularies(), st.data())
def test_settled_and_accepted_labels_never_violate_the_hierarchy(vocabulary: Vocabulary, data: st.DataObject):
    count = len(vocabulary.labels)
    numbers = st.lists(st.floats(0, 1, width=32), min_size=count, max_size=count)
    given_probabilities = np.array(data.draw(st.lists(numbers, min_size=1, max_size=3)), np.float32)
    thresholds = np.array(data.draw(numbers))
    hierarchy = vocabulary.hierarchy
    settled = hierarchy.settle(given_probabilities)
    accepted = hierarchy.accept(settled, thresholds)
    rows = {name: row for row, name in enumerate(vocabulary.names)}
    groups: dict[tuple[str | None, str], list[int]] = {}
    for row, label in enumerate(vocabulary.labels):
        if label.parent is not None:
            parent = rows[label.parent]
            assert (settled[:, parent] >= settled[:, row]).all()
            assert (accepted[:, parent] >= accepted[:, row]).all()
        if label.exclusive_group is not None:
            groups.setdefault((label.parent, label.exclusive_group), []).append(row)
    for members in groups.values():
        best_two = np.sort(settled[:, members], axis=1)[:, -2:]
        assert (best_two.sum(axis=1) <= 1 + 1e-6).all()
        assert (accepted[:, members].sum(axis=1) <= 1).all()
    np.testing.assert_array_equal(hierarchy.settle(settled), settled)
    assert settled.shape == accepted.shape == given_probabilities.shape
    assert settled.dtype == np.float32
    if not groups:
        assert (settled >= given_probabilities).all()


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        ([Label(name="a", exclusive_group="g")], "'a' is the only label of the exclusive group 'g'"),
        (
            [Label(name="a", exclusive_group="g"), Label(name="b", parent="a", exclusive_group="G")],
            "different parents",
        ),
        ([Label(name="a", parent="a")], "cycle"),
        ([Label(name="a", parent="b"), Label(name="b", parent="a"), Label(name="c", parent="a")], "cycle"),
    ],
)
def test_invalid_relations_are_rejected_naming_the_label(labels: list[Label], says: str):
    with pytest.raises(ValueError, match=says):
        _vocabulary(*labels)


def test_hierarchies_deeper_than_the_limit_are_rejected():
    def chain(length: int) -> str:
        parents = ", ".join(f'{{"name": "{n}", "parent": "{n + 1}"}}' for n in range(length - 1))
        return f'[{parents}, "{length - 1}"]'

    deepest = Vocabulary.from_json(chain(MAX_LEVELS)).hierarchy
    assert deepest.settle(np.linspace(1, 0, MAX_LEVELS)).tolist() == [1.0] * MAX_LEVELS
    with pytest.raises(VocabularyError, match="more than 32 levels"):
        Vocabulary.from_json(chain(MAX_LEVELS + 1))
    with pytest.raises(VocabularyError, match="more than 32 levels"):
        Vocabulary.from_json(chain(20_000))


@given(vocabularies(), st.data())
def test_narrowest_keeps_accepted_labels_without_accepted_children(
    vocabulary: Vocabulary, data: st.DataObject
):
    count = len(vocabulary.labels)
    numbers = st.lists(st.floats(0, 1, width=32), min_size=count, max_size=count)
    probabilities = np.array(data.draw(st.lists(numbers, min_size=1, max_size=3)), np.float32)
    hierarchy = vocabulary.hierarchy
    settled = hierarchy.settle(probabilities)
    thresholds = np.full(count, 0.5)
    accepted = hierarchy.accept(settled, thresholds)
    narrowest = hierarchy.narrowest(accepted)
    for found, left, reached in zip(accepted, narrowest, settled >= thresholds, strict=True):
        above = {vocabulary.labels[row].parent for row in np.flatnonzero(found)}
        assert left.tolist() == [
            bool(found[row]) and name not in above for row, name in enumerate(vocabulary.names)
        ]
        # Whoever is accepted for another's sake is not among them.
        assert (reached >= left).all()
