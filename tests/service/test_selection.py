import numpy as np
import pytest

from model.vocabulary import Label, Vocabulary
from service.errors import ParameterError
from service.selection import DEFAULT_TOP_K, Selection

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


def test_nothing_given_shows_what_reaches_its_threshold() -> None:
    assert _choose(Selection()) == {"a": True, "d": True}


def test_a_labels_own_threshold_wins_over_the_requests() -> None:
    assert _choose(Selection(threshold=0.3)) == {"a": True, "b": True, "d": True}
    assert _choose(Selection(threshold=0.7)) == {"d": True}


def test_top_k_shows_that_many_and_says_which_are_accepted() -> None:
    assert _choose(Selection(top_k=3)) == {"c": False, "a": True, "b": False}
    assert len(_choose(Selection(top_k=99))) == 4


def test_both_limit_each_other() -> None:
    assert _choose(Selection(top_k=1, threshold=0.3)) == {"a": True}
    assert _choose(Selection(top_k=3, threshold=0.99)) == {"d": True}


def test_only_a_caller_who_named_nothing_is_cut_at_ten() -> None:
    vocabulary = Vocabulary.from_names([f"label {i}" for i in range(30)])
    logits, probabilities = np.linspace(1, 2, 30), np.linspace(0.6, 0.9, 30)

    def count(selection: Selection) -> int:
        return len(selection.choose(vocabulary, logits, probabilities, np.full(30, 0.5)).tags)

    assert count(Selection(brief=True)) == DEFAULT_TOP_K
    assert count(Selection(brief=True, threshold=0.5)) == 30
    assert count(Selection(brief=True, top_k=20)) == 20
    assert count(Selection()) == 30


def test_threshold_is_inclusive_as_written() -> None:
    probabilities = np.array([0.3], np.float32)
    one = Vocabulary.from_names(["a"])
    (tag,) = Selection(threshold=0.3).choose(one, np.array([-0.8]), probabilities, np.array([0.3])).tags
    assert tag.probability == tag.threshold == 0.3
    assert tag.accepted


def test_an_accepted_label_brings_its_parents_and_keeps_out_what_it_excludes() -> None:
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
    [{"top_k": 0}, {"top_k": -1}, {"threshold": -0.1}, {"threshold": 1.1}, {"threshold": float("nan")}],
)
def test_out_of_range(arguments: dict[str, float]) -> None:
    with pytest.raises(ParameterError, match=next(iter(arguments))) as caught:
        Selection(**arguments)
    assert caught.value.hint
