"""An evidence head of three known words, five classes and sixteen dimensions, with random arrays."""

import numpy as np

from sigrl.model.config import BackboneConfig, EvidenceConfig, HeadConfig, WordTowerConfig
from sigrl.model.evidence import Evidence, Photographs
from sigrl.model.evidence_arrays import GAINS, shapes
from sigrl.model.kept_features import keep
from sigrl.model.label_facts import FEATURES

DIM, CLASSES = 16, 5
CONFIG = EvidenceConfig(
    known_words=(("dog", "hound"), ("cat",), ("hound dog", "cat")), class_texts=7, lexicon=6
)
HEAD = HeadConfig(kind="evidence", top_k=2, evidence=CONFIG)
WORDS = len(CONFIG.known_words) + CLASSES


def unit(rng, *shape):
    made = rng.standard_normal(shape).astype(np.float32)
    return made / np.linalg.norm(made, axis=-1, keepdims=True)


WITH_RIVALS = HEAD.model_copy(update={"evidence": CONFIG.model_copy(update={"rival_pairs": 1})})
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


def make_arrays():
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


def make_background():
    rng = np.random.default_rng(1)
    logits = rng.standard_normal((40, WORDS)).astype(np.float32)
    tokens = rng.standard_normal((40, 4, DIM)).astype(np.float32)
    return keep(rng.standard_normal((40, DIM)).astype(np.float32), tokens, logits)


def make_photographs():
    rng = np.random.default_rng(2)
    made = (rng.standard_normal(shape).astype(np.float32) for shape in ((3, DIM), (3, 4, DIM), (3, WORDS)))
    return Photographs(*made)


def check_independence(evidence, labels):
    """Each label has the same scores alone as together with the others."""
    embeddings = unit(np.random.default_rng(3), len(labels), DIM)
    background, photographs = make_background(), make_photographs()
    together = evidence.score(photographs, embeddings, evidence.describe(labels, embeddings, background))
    for place, label in enumerate(labels):
        rows = evidence.describe([label], embeddings[[place]], background)
        alone = evidence.score(photographs, embeddings[[place]], rows)
        np.testing.assert_allclose(alone[:, 0], together[:, place], atol=1e-5)


def scores_of(head, arrays, labels):
    """The scores [3, C] of labels on `make_photographs`."""
    evidence, embeddings = Evidence(head, arrays), unit(np.random.default_rng(3), len(labels), DIM)
    rows = evidence.describe(labels, embeddings, make_background())
    return evidence.score(make_photographs(), embeddings, rows)
