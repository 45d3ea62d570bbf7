import numpy as np
import pytest
from fake_engine import FakeEngine
from PIL import Image

from sigrl.model.engine import Engine
from sigrl.model.label_warnings import ABSENCE, UNKNOWN
from sigrl.model.preprocess import preprocess
from sigrl.model.vocabulary import Label, Vocabulary
from sigrl.service.errors import ModelError, ParameterError
from sigrl.service.tagging import scoring
from sigrl.service.tagging.scoring import MOST_DOUBTFUL, BatchItem, Question, ScoredImage, Scores, score_batch
from sigrl.service.tagging.selection import SURE, Selection
from sigrl.service.vocabularies import builtin as vocabularies

COLOURS = ("red", "blue", "white", "black", "magenta")


def _question(engine: Engine, *labels: str) -> Question:
    vocabulary = Vocabulary.from_names(labels)
    return Question(engine, vocabulary, engine.encode_labels(vocabulary), Selection())


def _work(colour: str, *questions: Question) -> BatchItem:
    image = Image.new("RGB", (40, 30), colour)
    return BatchItem(preprocess(image, questions[0].engine.preprocessing), questions)


def _tags(work: BatchItem, scored: ScoredImage | ModelError) -> list[tuple[str, ...]]:
    assert isinstance(scored, ScoredImage)
    answers = zip(work.questions, scored.scores, strict=True)
    return [question.answer(scores).labels for question, scores in answers]


def test_each_image_in_a_batch_is_scored_for_its_own_vocabularies() -> None:
    engine = FakeEngine()
    warm, cold = _question(engine, "red", "white"), _question(engine, "blue", "black")
    works = [_work("red", warm), _work("blue", warm), _work("blue", cold), _work("white", cold, warm)]
    scored = score_batch(works)
    assert [_tags(w, s) for w, s in zip(works, scored, strict=True)] == [
        [("red",)],
        [()],
        [("blue",)],
        [(), ("white",)],
    ]
    assert engine.batches == [4]


def test_two_checkpoints_in_one_batch_do_not_mix() -> None:
    old, new = FakeEngine("sha256:old"), FakeEngine("sha256:new")
    works = [_work(colour, _question((old, new)[n % 2], *COLOURS)) for n, colour in enumerate(COLOURS)]
    expected = [("red",), ("blue",), ("white",), ("black",), ()]
    for n, (work, scored) in enumerate(zip(works, score_batch(works), strict=True)):
        assert _tags(work, scored) == [expected[n]]
        assert isinstance(scored, ScoredImage)
        assert work.questions[0].answer(scored.scores[0]).checkpoint == ("sha256:old", "sha256:new")[n % 2]
    assert (old.batches, new.batches) == ([3], [2])


def test_nan_scores_fail_only_their_image(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = FakeEngine()
    question = _question(engine, "red")
    score = engine.score

    def broken(images: object, labels: object) -> np.ndarray:
        logits = score(images, labels)  # type: ignore[arg-type]
        logits[1] = np.nan
        return logits

    monkeypatch.setattr(engine, "score", broken)
    first, second, third = score_batch([_work("red", question) for _ in range(3)])
    assert isinstance(second, ModelError)
    for scored in (first, third):
        assert isinstance(scored, ScoredImage)
        assert question.answer(scored.scores[0]).labels == ("red",)
    assert score_batch([]) == []


def _asked(engine: Engine, vocabulary: Vocabulary, selection: Selection) -> Question:
    return Question(engine, vocabulary, engine.encode_labels(vocabulary), selection)


def test_brief_selection_uses_the_higher_default_threshold() -> None:
    engine = FakeEngine(has_background=True, default_threshold=0.2)
    colours = Vocabulary(labels=(Label(name="red"), Label(name="blue", threshold=0.9)))
    assert _asked(engine, colours, Selection(brief=True)).thresholds.tolist() == [SURE, 0.9]
    # Labels that are named keep the checkpoint's own, and so does all of a checkpoint without a calibration.
    assert _asked(engine, colours, Selection()).thresholds.tolist() == [0.2, 0.9]
    engine.has_background = False
    assert _asked(engine, colours, Selection(brief=True)).thresholds.tolist() == [0.2, 0.9]


def test_a_label_of_a_built_in_vocabulary_has_at_least_the_default_threshold(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine = FakeEngine(has_background=True, default_threshold=0.5)
    monkeypatch.setattr(engine, "thresholds", lambda _: np.array([0.2, 0.7], np.float32))
    colours = Vocabulary(name="colours", labels=(Label(name="red"), Label(name="blue")))
    assert _asked(engine, colours, Selection()).thresholds.tolist() == pytest.approx([0.2, 0.7])
    monkeypatch.setattr("sigrl.service.vocabularies.builtin.is_builtin", lambda _: True)
    assert _asked(engine, colours, Selection()).thresholds.tolist() == pytest.approx([0.5, 0.7])


def test_vocabulary_precision_applies_unless_the_request_overrides_it() -> None:
    engine = FakeEngine(has_background=True, default_threshold=0.2)
    sure = Vocabulary(labels=(Label(name="dog"), Label(name="blue", threshold=0.9)), precision=0.8)
    # No photograph of the background set comes near.
    for selection in (Selection(), Selection(brief=True), Selection(top_k=1)):
        assert _asked(engine, sure, selection).thresholds.tolist() == pytest.approx([0.8, 0.9])
    assert _asked(engine, sure, Selection(threshold=0.3)).thresholds.tolist() == [0.3, 0.9]
    assert _asked(engine, sure, Selection(precision=0.7)).thresholds[0] == pytest.approx(0.7)
    engine.has_background = False
    with pytest.raises(ParameterError, match="precision cannot be kept"):
        _ = _asked(engine, sure, Selection()).thresholds


def _answered(question: Question, *logits: float) -> dict[str, tuple[float, bool]]:
    scores = np.array([logits], np.float32)
    found = question.engine.probabilities(scores, question.features)
    tagging = question.answer(Scores(scores[0], found[0]))
    return {tag.label: (tag.probability, tag.accepted) for tag in (*tagging.tags, *tagging.guesses)}


def test_doubtful_label_is_not_accepted_by_default() -> None:
    engine = FakeEngine(unknown=("blorf",), has_background=True, default_threshold=0.2)
    odd = Vocabulary.from_names(["no dog", "blorf", "red"])
    question = _asked(engine, odd, Selection())
    told = {each.label: each.message for each in question.warnings}
    assert told == {"no dog": ABSENCE, "blorf": UNKNOWN}
    doubtful = (pytest.approx(MOST_DOUBTFUL), False)
    assert _answered(question, 9, 9, 9) == {"red": (pytest.approx(1, abs=1e-3), True)}
    assert _answered(question, 9, 9, -9)["blorf"] == doubtful
    assert _answered(_asked(engine, odd, Selection(recall=0.99)), 9, 9, -9)["no dog"] == doubtful
    # Who sets a low threshold has it.
    assert _answered(_asked(engine, odd, Selection(threshold=0.2)), 9, 9, -9)["no dog"][1]
    assert not question.verdicts(Scores(np.zeros(3, np.float32), np.ones(3, np.float32)))[1][0]


def test_word_lookups_are_cached_for_the_same_labels(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looked_up: list[str] = []
    monkeypatch.setattr(scoring, "is_english", lambda text: bool(looked_up.append(text)))
    names = ("a word that only this test asks for", "another of these words")
    for _ in range(3):
        assert _question(FakeEngine(), *names)._doubts == _question(FakeEngine(), *names)._doubts
    assert looked_up == list(names)


def test_built_in_and_calibrated_vocabularies_give_no_warnings() -> None:
    engine = FakeEngine(unknown=tuple(vocabularies.builtin("voc20").names))
    assert _asked(engine, vocabularies.builtin("voc20"), Selection()).warnings == ()
    copy = Vocabulary(name="mine", labels=vocabularies.builtin("voc20").labels)
    assert len(_asked(engine, copy, Selection()).warnings) == 20
    shown = copy.model_copy(update={"calibration": 1})
    assert _asked(engine, shown, Selection()).warnings == ()
