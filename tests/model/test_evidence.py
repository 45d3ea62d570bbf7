"""The evidence head: what its parts say, and that no label's score depends on the others asked for."""

import numpy as np
import pytest
from small_evidence import (
    CONFIG,
    DIM,
    HEAD,
    KINDS,
    WITH_KINDS,
    WORDS,
    check_independence,
    make_arrays,
    make_background,
    make_photographs,
    unit,
)

from sigrl.model.config import HeadConfig
from sigrl.model.evidence import Evidence, Photographs
from sigrl.model.features import pool_tokens
from sigrl.model.kept_features import keep
from sigrl.model.region_maps import Regions, region_maps
from sigrl.model.vocabulary import Label


@pytest.fixture
def arrays():
    return make_arrays()


@pytest.fixture
def background():
    return make_background()


@pytest.fixture
def photographs():
    return make_photographs()


LABELS = [Label(name=name) for name in ("Dog", "zebra", "cat", "a red car")]


def test_label_score_does_not_depend_on_other_labels(arrays):
    check_independence(Evidence(HEAD, arrays), LABELS)


def test_known_word_or_synonym_is_scored_by_its_trained_logit(arrays, background, photographs):
    # Its own logit alone: no matching, no graph.
    arrays["gains"] = np.array([0.7, 0, 0.1, 0.4, 0.4, 1.0, 0.2, -1.0, 0.9, 0.2, 0.8, 0], np.float32)
    evidence, embeddings = Evidence(HEAD, arrays), unit(np.random.default_rng(3), 3, DIM)
    labels = [Label(name="DOG"), Label(name="Cat"), Label(name="beast", synonyms=("hound",))]
    scores = evidence.score(photographs, embeddings, evidence.describe(labels, embeddings, background))
    known = 0.7 * photographs.word_logits[:, :3] + 0.1
    # "hound" is a synonym of the first word; "cat" is a word, so that the third word's synonym is not it.
    np.testing.assert_allclose(scores, known[:, [0, 1, 0]], atol=1e-5)


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


def test_no_photograph_has_no_scores(arrays, background, photographs):
    evidence, embeddings = Evidence(HEAD, arrays), unit(np.random.default_rng(3), 2, DIM)
    rows = evidence.describe(LABELS[:2], embeddings, background)
    none = Photographs(photographs.embeddings[:0], photographs.tokens[:0], photographs.word_logits[:0])
    assert evidence.score(none, embeddings, rows).shape == (0, 2)


def test_grid_without_a_square_is_refused():
    with pytest.raises(ValueError, match="1 x 5 tokens"):
        pool_tokens(np.zeros((2, 5, DIM), np.float32), (1, 5))
