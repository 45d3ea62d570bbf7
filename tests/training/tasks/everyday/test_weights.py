"""The fits of the evidence head's weights recover the weights that generated the labels."""

import numpy as np
import pytest

from sigrl.model.broader_words import BROADER_GAINS
from sigrl.model.caption_words import CAPTION_GAINS
from sigrl.model.config import EvidenceConfig, HeadConfig
from sigrl.model.evidence import Evidence, Photographs, Pieces
from sigrl.model.evidence_arrays import GAINS, shapes
from sigrl.model.kept_features import keep
from sigrl.model.label_facts import FEATURES, standardised
from sigrl.model.vocabulary import Label
from sigrl.training.tasks.everyday import known_words, new_words
from sigrl.training.tasks.everyday.config import GraphConfig
from sigrl.training.tasks.everyday.draft import DEFAULT_GAINS
from sigrl.training.tasks.everyday.evaluation import measure_logits
from sigrl.training.tasks.everyday.graph import fit_graph
from sigrl.training.tasks.everyday.new_words import NewWords, Shown

DIM, CLASSES = 16, 6


def labels_of(logits: np.ndarray, seed: int) -> np.ndarray:
    """Labels drawn with the probabilities of the logits; some are unknown."""
    draw = np.random.default_rng(seed)
    labels = np.where(draw.random(logits.shape) < 1 / (1 + np.exp(-logits)), 1, -1).astype(np.int8)
    labels[draw.random(logits.shape) < 0.1] = 0
    return labels


def shown(photographs: int, words: int, features: int = 3, seed: int = 0) -> Shown:
    draw = np.random.default_rng(seed)
    pieces = (draw.standard_normal((photographs, words)).astype(np.float32) for _ in range(5))
    spread = draw.standard_normal((words, features)).astype(np.float32)
    return Shown(
        *pieces,
        broader=(np.arange(words) % 3 == 0).astype(np.float32),
        in_captions=(np.arange(words) % 2 == 0).astype(np.float32),
        background_classes=draw.standard_normal(words).astype(np.float32),
        features=np.hstack([np.ones((words, 1), np.float32), spread]),
        nearest_known=draw.uniform(0.4, 1, words).astype(np.float32),
        nearest_class=draw.uniform(0.3, 1, words).astype(np.float32),
        labels=np.zeros((photographs, words), np.int8),
    )


TRUE = NewWords(
    np.array([0.4, 0.2, -0.2, 0.0], np.float32),
    np.array([-2.0, 0.5, 0.0, -0.4], np.float32),
    {
        "new_class": 0.6,
        "class_cut": 0.6,
        "near_words": 0.8,
        "near_cut": 0.75,
        "broader_word": 0.7,
        "broader_word_offset": 1.5,
        "caption_word": 0.4,
        "caption_word_offset": 2.5,
    },
)


@pytest.mark.parametrize(("wrong", "threshold"), [([], 0.5), ([0.62], 0.63), ([0.7, 0.999], 0.71)])
def test_the_default_threshold_is_the_lowest_that_is_precise(wrong: list[float], threshold: float) -> None:
    """Four pairs at 0.95 are right, and nobody judged those at 0.9. With a wrong one above all others, no
    threshold is precise enough, and the most precise one is taken."""
    probabilities = np.array([*[0.95] * 4, *[0.9] * 9, *wrong])[:, None]
    labels = np.array([*[1] * 4, *[0] * 9, *[-1] * len(wrong)], np.int8)[:, None]
    assert known_words.lowest_threshold(probabilities, labels) == threshold


def test_the_threshold_of_new_words_is_the_highest_that_costs_no_f1() -> None:
    # Of ten pairs at 0.3, seven are right; of a hundred at 0.12, five are.
    logits = np.log(np.array([0.3] * 10 + [0.12] * 100) / (1 - np.array([0.3] * 10 + [0.12] * 100)))
    labels = np.array([1] * 7 + [-1] * 3 + [1] * 5 + [-1] * 95, np.int8)
    threshold = new_words.best_threshold(logits.astype(np.float32)[:, None], labels[:, None])
    assert threshold == 0.25
    assert new_words.best_threshold(np.zeros((3, 2), np.float32), -np.ones((3, 2), np.int8)) == 0.5


@pytest.fixture
def weak_penalty(monkeypatch: pytest.MonkeyPatch) -> None:
    """The true weights are found only where the penalty does not pull them to 0."""
    monkeypatch.setattr(new_words, "_DECAY", 0.02)


@pytest.mark.usefixtures("weak_penalty")
def test_fit_recovers_the_weights_of_new_words() -> None:
    given = shown(3000, 60)
    labels = labels_of(TRUE.logits(given), seed=1)
    found = new_words.fit(Shown(**{**vars(given), "labels": labels}))
    np.testing.assert_allclose(found.slope, TRUE.slope, atol=0.06)
    np.testing.assert_allclose(found.offset, TRUE.offset, atol=0.1)
    assert found.gains == pytest.approx(TRUE.gains, abs=0.1)


@pytest.mark.usefixtures("weak_penalty")
def test_weights_fitted_on_other_words_transfer_to_new_words() -> None:
    given, other = shown(1500, 40), shown(1500, 40)
    truth = TRUE.logits(given)
    fitting = Shown(**{**vars(given), "labels": labels_of(truth, seed=1)})
    measuring = Shown(**{**vars(other), "labels": labels_of(truth, seed=2)})
    logits = new_words.crosswise(fitting, measuring, seed=0)
    assert np.abs(logits - truth).mean() < 0.2
    measured = measure_logits("new", logits, measuring.labels)
    assert measured["new, ECE"] < 2
    # A word's own labels do not affect its weights: without them it gets the same logits.
    order = np.random.default_rng(0).permutation(40)
    fold = np.array_split(order, 5)[0]
    labels = fitting.labels.copy()
    labels[:, fold] = -labels[:, fold]
    again = new_words.crosswise(Shown(**{**vars(fitting), "labels": labels}), measuring, seed=0)
    np.testing.assert_array_equal(again[:, fold], logits[:, fold])


def test_evidence_head_reproduces_the_fitted_logits() -> None:
    config = EvidenceConfig(
        known_words=(("dog",), ("cat",)),
        class_texts=CLASSES,
        lexicon=4,
        rank=2,
        kind_pairs=1,
        broader_words=(("pet",), ("nearly a class",)),
        broader_pairs=3,
        caption_words=("sunset", "near"),
        tower_logits=2 + CLASSES,
    )
    draw = np.random.default_rng(0)

    def unit(count: int) -> np.ndarray:
        made = draw.standard_normal((count, DIM)).astype(np.float32)
        return made / np.linalg.norm(made, axis=1, keepdims=True)

    def photographs(count: int) -> Photographs:
        kinds = ((count, DIM), (count, 4, DIM), (count, 2 + CLASSES))
        return Photographs(*(draw.standard_normal(shape).astype(np.float32) for shape in kinds))

    arrays = {name: np.zeros(shape, np.float32) for name, shape in shapes(config, DIM).items()}
    arrays |= {"known_labels": unit(2), "class_labels": unit(CLASSES), "lexicon": unit(4)}
    arrays["class_rows"] = np.arange(CLASSES, dtype=np.float32)
    arrays["lexicon_counts"] = np.arange(4, dtype=np.float32)
    scales = {name: np.float32(1) for name in ("log_global_scale", "log_local_scale", "bias")}
    arrays["broader_pairs"] = np.array([(0, 0), (0, 1), (1, 4)], np.float32)
    arrays["kind_gains"] = np.array([2, 3], np.float32)
    arrays["caption_weights"] = draw.standard_normal((2, 2 + CLASSES)).astype(np.float32)
    arrays["caption_bias"] = draw.standard_normal(2).astype(np.float32)
    # One word is like nothing else, one nearly a class, one near a known word, and one is a class's name.
    # The first is broader than two known words, the second and the last than a class; captions mention the
    # third.
    labels = [Label(name=name) for name in ("pet", "nearly a class", "near", "nearly a class")]
    words = unit(4) + 0.0
    words[1] = arrays["class_labels"][0] + 0.3 * words[1]
    words[2] = arrays["known_labels"][0] + 0.6 * words[2]
    words[3] = arrays["class_labels"][1]
    words /= np.linalg.norm(words, axis=1, keepdims=True)
    background, seen = photographs(30), photographs(5)
    kept = keep(background.embeddings, background.tokens, background.word_logits)
    head = HeadConfig(kind="evidence", top_k=2, evidence=config)
    arrays["gains"] = np.array([DEFAULT_GAINS[name] for name in GAINS], np.float32)
    facts = Evidence(head, arrays | scales).facts(labels, words, kept)
    mean, deviation = facts.features.mean(axis=0), facts.features.std(axis=0) + 1e-3
    weights = NewWords(
        *(0.1 * draw.standard_normal((2, 1 + len(FEATURES))).astype(np.float32)), gains=dict(TRUE.gains)
    )
    gains = DEFAULT_GAINS | weights.gains
    arrays |= {"slope": weights.slope, "offset": weights.offset}
    arrays |= {"feature_mean": mean, "feature_deviation": deviation}
    arrays["gains"] = np.array([gains[name] for name in GAINS], np.float32)
    arrays["broader_gains"] = np.array([gains[name] for name in BROADER_GAINS], np.float32)
    arrays["caption_gains"] = np.array([gains[name] for name in CAPTION_GAINS], np.float32)
    evidence = Evidence(head, arrays | scales)
    found = evidence.pieces(seen, words, facts.rows)
    features = standardised(facts.features, mean, deviation)
    given = Shown.made(facts, found, features, np.zeros((5, 4), np.int8))
    scores = evidence.score(seen, words, evidence.describe(labels, words, kept))
    np.testing.assert_allclose(weights.logits(given), scores, atol=1e-4)


def test_fit_recovers_the_gains_of_known_words() -> None:
    draw = np.random.default_rng(0)
    pieces = Pieces(*(draw.standard_normal((800, 50)).astype(np.float32) * 2 for _ in Pieces._fields))
    true = {"known_word": 0.9, "known_open": 0.3, "graph": 0.5, "known_offset": -1.5}
    logits = 0.9 * pieces.words + 0.3 * pieces.matching + 0.5 * pieces.graph - 1.5
    assert known_words.fit(pieces, labels_of(logits, seed=1)) == pytest.approx(true, abs=0.05)


def test_without_known_labels_the_default_gains_are_kept() -> None:
    pieces = Pieces(*(np.ones((3, 2), np.float32) for _ in Pieces._fields))
    found = known_words.fit(pieces, np.zeros((3, 2), np.int8))
    assert found == pytest.approx({name: DEFAULT_GAINS[name] for name in known_words.GAINS})


def test_fitted_graph_recovers_relations_between_words() -> None:
    draw = np.random.default_rng(0)
    logits = (3 * draw.standard_normal((2000, 5))).astype(np.float32)
    truth = logits.copy()
    # The second word's own score is uninformative; where the first word applies, so does the second.
    logits[:, 1] = 0
    truth[:, 1] = np.where(truth[:, 0] > 0, 3, -3)
    truth[:, 2] -= 4 * (1 / (1 + np.exp(-logits[:, 3])) - 0.5)
    embeddings = np.eye(5, DIM, dtype=np.float32)
    config = GraphConfig(rank=5, steps=600, weight_decay=0.1)
    query, key = fit_graph(logits, labels_of(truth, seed=1), embeddings, config, seed=0)
    graph = (embeddings @ key) @ (embeddings @ query).T
    strongest = np.unravel_index(graph.argmax(), graph.shape)
    assert strongest == (0, 1)
    assert np.unravel_index(graph.argmin(), graph.shape) == (3, 2)
    repeated = fit_graph(logits, labels_of(truth, seed=1), embeddings, config, seed=0)
    np.testing.assert_array_equal(repeated[0], query)
