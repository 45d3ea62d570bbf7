"""What is wrong with a list of labels."""

import numpy as np
import pytest

from sigrl.model import label_hygiene
from sigrl.model.label_hygiene import Hygiene, hygiene

NAMES = ("rare", "everywhere", "sofa", "couch", "shadow of sofa", "plain")


@pytest.fixture
def parts():
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 1, (300, 6)).astype(np.float32)
    logits[:, 0] -= 20
    logits[:, 1] += 20
    logits[:, 4] = 0.5 * logits[:, 2] - 1 + rng.normal(0, 0.02, 300)
    embeddings = np.eye(6, dtype=np.float32)
    embeddings[3] = embeddings[2] + 0.1 * embeddings[5]
    return NAMES, embeddings, logits, logits >= 0


def test_report_lists_each_kind_of_label_problem(parts):
    report = hygiene(*parts)
    assert report.never == ("rare",)
    assert report.always == ("everywhere",)
    assert [(pair.first, pair.second) for pair in report.near_duplicates] == [("sofa", "couch")]
    assert report.near_duplicates[0].similarity == pytest.approx(1 / np.sqrt(1.01), abs=1e-5)
    assert [(pair.first, pair.second) for pair in report.indistinguishable] == [("sofa", "shadow of sofa")]
    assert report.indistinguishable[0].similarity > 0.98


def test_good_labels_give_an_empty_report(parts):
    names, _, logits, _ = parts
    logits = np.random.default_rng(1).normal(0, 1, logits.shape).astype(np.float32)
    report = hygiene(names, np.eye(6, dtype=np.float32), logits, logits >= 0)
    assert report == Hygiene((), (), (), ())


def test_pairs_are_found_across_blocks_and_the_closest_kept(parts, monkeypatch):
    monkeypatch.setattr(label_hygiene, "_BLOCK", 2)
    names, embeddings, logits, present = parts
    assert hygiene(names, embeddings, logits, present) == hygiene(*parts)
    embeddings[:] = 1
    embeddings[5, 0] = 1.5
    assert len(hygiene(names, embeddings, logits, present).near_duplicates) == 15
    monkeypatch.setattr(label_hygiene, "MOST_PAIRS", 10)
    kept = hygiene(names, embeddings, logits, present).near_duplicates
    assert len(kept) == 10
    assert all("plain" not in (pair.first, pair.second) for pair in kept)


def test_constant_score_label_is_not_reported_as_indistinguishable(parts):
    names, embeddings, logits, present = parts
    logits[:, :2] = 0
    assert "rare" not in {
        pair.first for pair in hygiene(names, embeddings, logits, present).indistinguishable
    }


def test_near_duplicate_texts_are_found_without_a_background_set(parts):
    names, embeddings, logits, present = parts
    report = hygiene(names, embeddings, logits[:0], present[:0])
    assert (report.never, report.always, report.indistinguishable) == ((), (), ())
    assert report.near_duplicates == hygiene(*parts).near_duplicates
