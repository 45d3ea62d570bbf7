import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from vocabulary_strategies import vocabularies

from sigrl.model.vocabulary import Label, Vocabulary
from sigrl.service.errors import ParameterError
from sigrl.service.tagging.selection import DEFAULT_TOP_K, GUESSES, LEAST_GUESS, SURE, Chosen, Selection

VOCABULARY = Vocabulary(
    labels=(Label(name="a"), Label(name="b"), Label(name="c", threshold=0.9), Label(name="d", threshold=0.1))
)
PROBABILITIES = np.array([0.6, 0.4, 0.8, 0.2], np.float32)


def _choose(selection: Selection, checkpoint_threshold: float = 0.5) -> dict[str, bool]:
    thresholds = selection.thresholds(VOCABULARY, np.full(4, checkpoint_threshold, np.float32))
    logits = np.log(PROBABILITIES / (1 - PROBABILITIES))
    tags = selection.choose(VOCABULARY, logits, PROBABILITIES, thresholds).tags
    assert [tag.probability for tag in tags] == sorted((tag.probability for tag in tags), reverse=True)
    assert all(tag.accepted == (tag.probability >= tag.threshold) for tag in tags)
    return {tag.label: tag.accepted for tag in tags}


def test_default_selection_returns_labels_above_their_threshold() -> None:
    assert _choose(Selection()) == {"a": True, "d": True}


def test_label_threshold_overrides_request_threshold() -> None:
    assert _choose(Selection(threshold=0.3)) == {"a": True, "b": True, "d": True}
    assert _choose(Selection(threshold=0.7)) == {"d": True}


def test_top_k_returns_k_labels_with_accepted_flags() -> None:
    assert _choose(Selection(top_k=3)) == {"c": False, "a": True, "b": False}
    assert len(_choose(Selection(top_k=99))) == 4


def test_top_k_and_threshold_are_combined() -> None:
    assert _choose(Selection(top_k=1, threshold=0.3)) == {"a": True}
    assert _choose(Selection(top_k=3, threshold=0.99)) == {"d": True}


def test_only_brief_selection_is_limited_to_ten_labels() -> None:
    vocabulary = Vocabulary.from_names([f"label {i}" for i in range(30)])
    logits, probabilities = np.linspace(1, 2, 30), np.linspace(0.6, 0.9, 30)

    def count(selection: Selection) -> int:
        return len(selection.choose(vocabulary, logits, probabilities, np.full(30, 0.5)).tags)

    assert count(Selection(brief=True)) == DEFAULT_TOP_K
    assert count(Selection(brief=True, threshold=0.5)) == 30
    assert count(Selection(brief=True, top_k=20)) == 20
    assert count(Selection()) == 30


def test_threshold_is_inclusive() -> None:
    probabilities = np.array([0.3], np.float32)
    one = Vocabulary.from_names(["a"])
    (tag,) = Selection(threshold=0.3).choose(one, np.array([-0.8]), probabilities, np.array([0.3])).tags
    assert tag.probability == tag.threshold == 0.3
    assert tag.accepted


def test_accepted_label_adds_parents_and_excludes_exclusive_labels() -> None:
    pets = Vocabulary(
        labels=(
            Label(name="animal", threshold=0.9),
            Label(name="dog", parent="animal", exclusive_group="kind"),
            Label(name="cat", parent="animal", exclusive_group="kind"),
        )
    )
    probabilities = np.array([0.1, 0.7, 0.6], np.float32)
    logits = np.log(probabilities / (1 - probabilities))
    thresholds = Selection().thresholds(pets, np.full(3, 0.2, np.float32))
    tags = Selection(top_k=3).choose(pets, logits, probabilities, thresholds).tags
    seen = {tag.label: (round(tag.probability, 3), tag.threshold, tag.accepted) for tag in tags}
    assert seen == {"dog": (0.7, 0.2, True), "animal": (0.7, 0.9, True), "cat": (0.3, 0.2, False)}
    assert [tag.label for tag in tags] == ["dog", "animal", "cat"]


@pytest.mark.parametrize(
    "arguments",
    [
        {"top_k": 0},
        {"top_k": -1},
        {"threshold": -0.1},
        {"threshold": 1.1},
        {"threshold": float("nan")},
        {"precision": 0},
        {"recall": 1},
        {"recall": float("nan")},
        {"precision": 0.9, "recall": 0.9},
        {"threshold": 0.5, "recall": 0.9},
    ],
)
def test_out_of_range_parameters_are_rejected(arguments: dict[str, float]) -> None:
    with pytest.raises(ParameterError, match=next(iter(arguments))) as caught:
        Selection(**arguments)
    assert caught.value.hint


CLOTHES = Vocabulary(
    labels=(
        Label(name="clothing"),
        Label(name="shirt", parent="clothing"),
        Label(name="shoe", parent="clothing"),
        Label(name="sneaker", parent="shoe"),
        Label(name="cat"),
    )
)


def _chosen(selection: Selection, *probabilities: float) -> Chosen:
    found = np.array(probabilities, np.float32)
    logits = np.log(found / (1 - found))
    return selection.choose(CLOTHES, logits, found, np.full(len(found), SURE))


def test_brief_selection_returns_narrowest_labels_and_implied_parents() -> None:
    chosen = _chosen(Selection(brief=True), 0.2, 0.8, 0.75, 0.9, 0.1)
    assert [tag.label for tag in chosen.tags] == ["sneaker", "shirt"]
    assert [tag.label for tag in chosen.implied] == ["shoe", "clothing"]
    # A parent stands for itself only where no child is sure.
    chosen = _chosen(Selection(brief=True), 0.8, 0.4, 0.7, 0.45, 0.1)
    assert [tag.label for tag in chosen.tags] == ["shoe"]
    assert chosen.guesses == ()


def test_explicit_selection_returns_all_accepted_labels() -> None:
    for selection in (Selection(), Selection(threshold=0.5), Selection(threshold=0.5, brief=True)):
        chosen = _chosen(selection, 0.2, 0.8, 0.75, 0.9, 0.1)
        assert len(chosen.tags) == 4
        assert chosen.implied == ()


def test_three_guesses_are_returned_if_nothing_is_accepted() -> None:
    for selection in (Selection(), Selection(brief=True)):
        chosen = _chosen(selection, 0.2, 0.1, 0.15, 0.05, 0.4)
        assert chosen.tags == chosen.implied == ()
        assert [tag.label for tag in chosen.guesses] == ["cat", "clothing", "shoe"]
        assert not any(tag.accepted for tag in chosen.guesses)
    assert _chosen(Selection(top_k=2), 0.2, 0.1, 0.1, 0.1, 0.4).guesses == ()


def test_a_brief_answer_has_no_guess_below_ten_percent() -> None:
    assert _chosen(Selection(brief=True), 0.02, 0.01, 0.03, 0.01, 0.09).guesses == ()
    guesses = _chosen(Selection(brief=True), 0.02, 0.01, 0.03, 0.01, 0.2).guesses
    assert [tag.label for tag in guesses] == ["cat"]


@given(vocabularies(max_size=14), st.data())
def test_brief_selection_invariants_for_any_vocabulary(vocabulary: Vocabulary, data: st.DataObject) -> None:
    count = len(vocabulary.labels)
    numbers = st.lists(st.floats(0, 1, width=32), min_size=count, max_size=count)
    found = np.array(data.draw(numbers), np.float32)
    selection = Selection(brief=True)
    thresholds = selection.thresholds(vocabulary, np.full(count, SURE, np.float32))
    chosen = selection.choose(vocabulary, found, found, thresholds)
    labels = {label.name: label for label in vocabulary.labels}
    shown, implied = ({tag.label for tag in tags} for tags in (chosen.tags, chosen.implied))

    def above(name: str | None) -> set[str]:
        parent = labels[name].parent if name is not None else None
        return set() if parent is None else {parent} | above(parent)

    assert all(tag.probability >= tag.threshold and tag.accepted for tag in chosen.tags)
    assert len(chosen.tags) <= DEFAULT_TOP_K
    assert not any(above(name) & shown for name in shown)
    everything = Selection().choose(vocabulary, found, found, thresholds)
    accepted = {tag.label for tag in everything.tags}
    assert implied == {name for each in accepted for name in above(each)}
    assert shown <= accepted - implied
    assert len(shown) == min(DEFAULT_TOP_K, len(accepted - implied))
    groups = [
        (labels[name].parent, labels[name].exclusive_group)
        for name in shown | implied
        if labels[name].exclusive_group is not None
    ]
    assert len(groups) == len(set(groups))
    every = Selection(top_k=max(count, 1)).choose(vocabulary, found, found, thresholds)
    likely = sum(tag.probability >= LEAST_GUESS for tag in every.tags)
    assert len(chosen.guesses) == (0 if accepted else min(GUESSES, likely))
