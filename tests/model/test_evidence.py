"""The evidence head: what its parts say, and that no label's score depends on the others asked for."""

import numpy as np
import pytest

from sigrl.model.config import BackboneConfig, EvidenceConfig, HeadConfig, WordTowerConfig
from sigrl.model.evidence import GAINS, Evidence, Photographs, evidence_of, pool_tokens, shapes
from sigrl.model.kept_features import keep
from sigrl.model.label_facts import FEATURES
from sigrl.model.region_maps import Regions, region_maps
from sigrl.model.vocabulary import Label

DIM, CLASSES = 16, 5
CONFIG = EvidenceConfig(
    known_words=(("dog", "hound"), ("cat",), ("hound dog", "cat")), class_texts=7, lexicon=6
)
HEAD = HeadConfig(kind="evidence", top_k=2, evidence=CONFIG)
WORDS = len(CONFIG.known_words) + CLASSES


def unit(rng, *shape):
    made = rng.standard_normal(shape).astype(np.float32)
    return made / np.linalg.norm(made, axis=-1, keepdims=True)


@pytest.fixture
def arrays():
    rng = np.random.default_rng(0)
    made = {
        name: (0.1 * rng.standard_normal(shape)).astype(np.float32)
        for name, shape in shapes(CONFIG, DIM).items()
    }
    made |= {name: unit(rng, *made[name].shape) for name in ("known_labels", "class_labels", "lexicon")}
    made["class_rows"] = np.array([0, 0, 1, 2, 3, 4, 4], np.float32)
    made["feature_deviation"] = np.ones(len(FEATURES), np.float32)
    made["gains"] = np.array([0.7, 0.5, 0.1, 0.4, 0.4, 1.0, 0.2, -1.0, 0.9, 0.2, 0.8, 0.3], np.float32)
    assert len(made["gains"]) == len(GAINS)
    scalars = {"log_global_scale": 1.0, "log_local_scale": 0.5, "bias": -1.0}
    return made | {name: np.float32(value) for name, value in scalars.items()}


@pytest.fixture
def background():
    rng = np.random.default_rng(1)
    logits = rng.standard_normal((40, WORDS)).astype(np.float32)
    tokens = rng.standard_normal((40, 4, DIM)).astype(np.float32)
    return keep(rng.standard_normal((40, DIM)).astype(np.float32), tokens, logits)


@pytest.fixture
def photographs():
    rng = np.random.default_rng(2)
    made = (rng.standard_normal(shape).astype(np.float32) for shape in ((3, DIM), (3, 4, DIM), (3, WORDS)))
    return Photographs(*made)


LABELS = [Label(name=name) for name in ("Dog", "zebra", "cat", "a red car")]


def test_label_score_does_not_depend_on_other_labels(arrays, background, photographs):
    evidence, embeddings = Evidence(HEAD, arrays), unit(np.random.default_rng(3), 4, DIM)
    rows = evidence.describe(LABELS, embeddings, background)
    together = evidence.score(photographs, embeddings, rows)
    for place in (3, 1, 0, 2):
        alone = evidence.describe([LABELS[place]], embeddings[[place]], background)
        scores = evidence.score(photographs, embeddings[[place]], alone)
        np.testing.assert_allclose(scores[:, 0], together[:, place], atol=1e-5)


def test_known_word_or_synonym_is_scored_by_its_trained_logit(arrays, background, photographs):
    # Its own logit alone: no matching, no graph.
    arrays["gains"] = np.array([0.7, 0, 0.1, 0.4, 0.4, 1.0, 0.2, -1.0, 0.9, 0.2, 0.8, 0], np.float32)
    evidence, embeddings = Evidence(HEAD, arrays), unit(np.random.default_rng(3), 3, DIM)
    labels = [Label(name="DOG"), Label(name="Cat"), Label(name="beast", synonyms=("hound",))]
    scores = evidence.score(photographs, embeddings, evidence.describe(labels, embeddings, background))
    known = 0.7 * photographs.word_logits[:, :3] + 0.1
    # "hound" is a synonym of the first word; "cat" is a word, so that the third word's synonym is not it.
    np.testing.assert_allclose(scores, known[:, [0, 1, 0]], atol=1e-5)


def test_kinds_of_a_known_word_raise_its_logit_and_never_lower_it(arrays, photographs):
    config = CONFIG.model_copy(update={"kind_pairs": 3})
    # Two classes are kinds of "dog", one of them also of "cat"; the third word has none.
    arrays |= {
        "kind_words": np.array([0, 0, 1], np.float32),
        "kind_classes": np.array([2, 4, 4], np.float32),
        "kind_gains": np.array([2.0, 3.0], np.float32),
    }
    logits = photographs.word_logits.copy()
    logits[0, WORDS - 1] = 7
    found = Evidence(HEAD.model_copy(update={"evidence": config}), arrays).known_logits(logits)
    classes = np.exp(logits[:, 3:]) / np.exp(logits[:, 3:]).sum(axis=1, keepdims=True)
    of_dog, of_cat = classes[:, 2] + classes[:, 4], classes[:, 4]
    for word, share in ((0, of_dog), (1, of_cat)):
        floor = 2 * np.log(share / (1 - share)) + 3
        np.testing.assert_allclose(found[:, word], np.maximum(logits[:, word], floor), rtol=1e-4)
        assert found[0, word] > logits[0, word] + 5
    np.testing.assert_array_equal(found[:, 2], logits[:, 2])


WITH_RIVALS = HEAD.model_copy(update={"evidence": CONFIG.model_copy(update={"rival_pairs": 1})})


def test_rivals_lower_each_other_and_no_other_word(arrays, photographs):
    arrays |= {
        "rival_words": np.array([[0, 2]], np.float32),
        "rival_gain": np.array([0.3], np.float32),
    }
    logits = photographs.word_logits
    found = Evidence(WITH_RIVALS, arrays).known_logits(logits)
    np.testing.assert_allclose(found[:, 0], logits[:, 0] - np.log1p(0.3 * np.exp(logits[:, 2])), rtol=1e-4)
    np.testing.assert_allclose(found[:, 2], logits[:, 2] - np.log1p(0.3 * np.exp(logits[:, 0])), rtol=1e-4)
    np.testing.assert_array_equal(found[:, 1], logits[:, 1])
    # Logits that no training gives stay finite.
    assert np.isfinite(Evidence(WITH_RIVALS, arrays).known_logits(logits + 200)).all()


def test_rivals_do_not_lower_what_the_classes_say(arrays, photographs):
    both = CONFIG.model_copy(update={"kind_pairs": 1, "rival_pairs": 1})
    arrays |= KINDS | {
        "rival_words": np.array([[0, 1]], np.float32),
        "rival_gain": np.array([1.0], np.float32),
    }
    logits = photographs.word_logits.copy()
    logits[:, 1] = 20
    logits[:, 3] = 20
    found = Evidence(HEAD.model_copy(update={"evidence": both}), arrays).known_logits(logits)
    # The class has the probability 1, which is clipped to 0.999.
    np.testing.assert_allclose(found[:, 0], 2 * np.log(999) + 3, rtol=1e-4)


KINDS = {
    "kind_words": np.array([0], np.float32),
    "kind_classes": np.array([0], np.float32),
    "kind_gains": np.array([2.0, 3.0], np.float32),
}
WITH_KINDS = HEAD.model_copy(update={"evidence": CONFIG.model_copy(update={"kind_pairs": 1})})
BACKBONE = BackboneConfig(
    embed_dim=DIM,
    vision={"timm_model_name": "tf_efficientnet_lite0", "image_size": 64},
    sentence_encoder={},
    words=WordTowerConfig(words=len(CONFIG.known_words), classes=CLASSES),
)


@pytest.mark.parametrize(
    "broken",
    [
        {"kind_words": np.array([3], np.float32)},
        {"kind_classes": np.array([CLASSES], np.float32)},
        {"kind_classes": np.array([-1], np.float32)},
        {"kind_classes": np.array([0, 1], np.float32)},
        {"class_rows": np.full(7, CLASSES, np.float32)},
        {"gains": np.zeros(3, np.float32)},
        {"lexicon": None},
    ],
)
def test_arrays_that_do_not_fit_the_checkpoint_are_refused(arrays, broken):
    given = {name: array for name, array in (arrays | KINDS | broken).items() if array is not None}
    with pytest.raises(ValueError, match=f"head.{next(iter(broken))}"):
        evidence_of(WITH_KINDS, BACKBONE, given)
    assert evidence_of(WITH_KINDS, BACKBONE, arrays | KINDS) is not None


@pytest.mark.parametrize("row", [-1, 3])
def test_rivals_that_are_no_known_words_are_refused(arrays, row):
    rivals = {"rival_words": np.array([[0, row]], np.float32), "rival_gain": np.ones(1, np.float32)}
    with pytest.raises(ValueError, match=r"head\.rival_words"):
        evidence_of(WITH_RIVALS, BACKBONE, arrays | rivals)


def test_small_probabilities_of_many_kinds_do_not_add_up(arrays, photographs):
    few, many = (
        Evidence(
            HEAD.model_copy(update={"evidence": CONFIG.model_copy(update={"kind_pairs": CLASSES})}),
            arrays
            | {
                "kind_words": np.array([0] * kinds + [1] * (CLASSES - kinds), np.float32),
                "kind_classes": np.arange(CLASSES, dtype=np.float32),
                "kind_gains": np.array([2.0, 30.0], np.float32),
            },
        ).known_logits(np.zeros_like(photographs.word_logits))[0, 0]
        for kinds in (4, 5)
    )
    # Five of five classes have the probability 1, which is clipped to 0.999; four have 0.8.
    assert few == pytest.approx(2 * np.log(4) + 30, abs=1e-3)
    assert many == pytest.approx(2 * (np.log(999) - np.log(5 / 4)) + 30, abs=1e-3)


def test_label_that_names_two_classes_stands_for_both(arrays, background, photographs):
    arrays["class_labels"][5] = arrays["class_labels"][2]
    evidence, embeddings = Evidence(WITH_KINDS, arrays | KINDS), arrays["class_labels"][[2]]
    rows = evidence.describe([Label(name="zebra")], embeddings, background)
    classes = np.exp(photographs.word_logits[:, 3:])
    classes /= classes.sum(axis=1, keepdims=True)
    share = classes[:, 1] + classes[:, 4]
    found = evidence.pieces(photographs, embeddings, rows).classes[:, 0]
    # At a cosine of 1 the smooth step to own classes is at 0.98.
    np.testing.assert_allclose(found, np.log(share / (1 - share)), atol=0.05)


def test_custom_prompt_makes_a_known_word_a_new_label(arrays, background, photographs):
    evidence, embeddings = Evidence(HEAD, arrays), unit(np.random.default_rng(3), 1, DIM)
    plain = evidence.describe([Label(name="dog")], embeddings, background)
    prompted = evidence.describe([Label(name="dog", prompts=("a hot dog",))], embeddings, background)
    assert not np.allclose(
        evidence.score(photographs, embeddings, plain), evidence.score(photographs, embeddings, prompted)
    )


def test_graph_adds_evidence_from_known_words(arrays, background, photographs):
    silent = arrays | {"graph_query": np.zeros_like(arrays["graph_query"])}
    embeddings = unit(np.random.default_rng(3), 1, DIM)
    label = [Label(name="dog")]
    with_graph, without = (
        made.score(photographs, embeddings, made.describe(label, embeddings, background))
        for made in (Evidence(HEAD, arrays), Evidence(HEAD, silent))
    )
    context = 1 / (1 + np.exp(-photographs.word_logits[:, :3])) - arrays["known_prior"]
    query = embeddings @ arrays["graph_query"]
    message = context @ (arrays["known_labels"] @ arrays["graph_key"]) @ query.T
    np.testing.assert_allclose(with_graph - without, 0.3 * message, atol=1e-5)


def test_familiarity_is_one_for_training_texts_and_zero_for_unknown(arrays, background):
    evidence = Evidence(HEAD, arrays)
    strange = unit(np.random.default_rng(9), 1, DIM) * 0
    embeddings = np.concatenate([arrays["lexicon"][[2]], strange])
    labels = [Label(name="met"), Label(name="unheard of")]
    rows = evidence.describe(labels, embeddings, background)
    np.testing.assert_allclose(evidence.familiarity(rows), [1, 0])


def test_only_new_words_have_a_threshold_of_their_own(arrays, background):
    embeddings = unit(np.random.default_rng(3), 3, DIM)
    embeddings[2] = arrays["class_labels"][4]
    labels = [Label(name=name) for name in ("hound", "zebra", "the name of a class")]
    for own, expected in ((0.2, [0.5, 0.2, 0.5]), (None, [0.5, 0.5, 0.5])):
        config = CONFIG.model_copy(update={"new_word_threshold": own})
        evidence = Evidence(HEAD.model_copy(update={"evidence": config}), arrays)
        rows = evidence.describe(labels, embeddings, background)
        np.testing.assert_allclose(evidence.thresholds(rows, 0.5), expected)


def test_features_kept_by_another_checkpoint_are_rejected(arrays, background, photographs):
    evidence, embeddings = Evidence(HEAD, arrays), unit(np.random.default_rng(3), 1, DIM)
    rows = evidence.describe([Label(name="dog")], embeddings, background)
    other = keep(photographs.embeddings, photographs.tokens)
    with pytest.raises(ValueError, match="another checkpoint"):
        evidence.score_kept(other, embeddings, rows)


def test_pool_tokens_averages_square_blocks():
    tokens = np.arange(2 * 3 * 5, dtype=np.float32).reshape(1, 2 * 15, 1)[:, :15]
    pooled = pool_tokens(tokens, (3, 5))
    assert pooled.shape == (1, 2, 1)
    np.testing.assert_array_equal(pooled[0, :, 0], [(0 + 1 + 5 + 6) / 4, (2 + 3 + 7 + 8) / 4])


def test_evidence_head_requires_its_configuration():
    with pytest.raises(ValueError, match="belongs to heads of that kind"):
        HeadConfig(kind="evidence")
    with pytest.raises(ValueError, match="belongs to heads of that kind"):
        HeadConfig(kind="mkt", evidence=CONFIG)
    with pytest.raises(ValueError, match="context"):
        HeadConfig(kind="evidence", form="published", evidence=CONFIG)


def regions_with(place, arrays, sign):
    """Regions of one photograph, 2 x 3, all alike but for the one at `place`, which differs by `sign` in its
    logit of "dog", in the class that "zebra" is, and along the embedding of "a red car"."""
    rng = np.random.default_rng(7)
    embeddings = np.tile(rng.standard_normal(DIM).astype(np.float32), (1, 6, 1))
    word_logits = np.tile(rng.standard_normal(WORDS).astype(np.float32), (1, 6, 1))
    word_logits[0, place, 0] += 3 * sign
    word_logits[0, place, len(CONFIG.known_words) + int(arrays["class_rows"][3])] += 3 * sign
    embeddings[0, place] += 3 * sign * THINGS[2]
    return Regions(embeddings, embeddings.copy(), word_logits)


THINGS = unit(np.random.default_rng(8), 3, DIM)


@pytest.mark.parametrize("place", range(6))
@pytest.mark.parametrize("sign", [1, -1])
def test_region_map_peaks_at_positive_and_dips_at_negative_evidence(arrays, background, place, sign):
    # A class of its own for the second label; the third has nothing but matching.
    embeddings = np.stack([THINGS[0], arrays["class_labels"][3], THINGS[2]])
    evidence = Evidence(HEAD, arrays | {"graph_query": np.zeros_like(arrays["graph_query"])})
    labels = [Label(name="dog"), Label(name="zebra"), Label(name="a red car")]
    rows = evidence.describe(labels, embeddings, background)
    maps = region_maps(evidence, regions_with(place, arrays, sign), embeddings, rows, (4, 6))
    assert maps.shape == (1, 3, 2, 3)
    for each in sign * maps[0].reshape(3, 6):
        assert each.argmax() == place
        assert each[place] > np.delete(each, place).max() + 0.01


def test_region_map_without_positive_evidence_is_negative_everywhere(arrays, background):
    """Its highest place is still the one that speaks least against it."""
    evidence = Evidence(HEAD, arrays)
    rows = evidence.describe([Label(name="dog")], THINGS[:1], background)
    regions = regions_with(4, arrays, 1)
    regions.word_logits[:, :, 0] -= 20
    maps = region_maps(evidence, regions, THINGS[:1], rows, (4, 6))
    assert maps.max() < 0
    assert maps.ravel().argmax() == 4
