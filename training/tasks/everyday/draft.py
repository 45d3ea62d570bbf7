"""An evidence head made from trained parts, with default weights until they are fitted."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from sigrl.model.broader_words import BROADER_GAINS
from sigrl.model.calibration import sigmoid
from sigrl.model.caption_words import CAPTION_GAINS
from sigrl.model.config import EvidenceConfig, HeadConfig
from sigrl.model.evidence import Evidence
from sigrl.model.evidence_arrays import GAINS, shapes
from sigrl.model.kept_features import KeptFeatures
from sigrl.training.backbones.initialisation import imagenet_class_names
from sigrl.training.data.dataset import DataError
from sigrl.training.tasks.everyday.broader import Broader, broader_words
from sigrl.training.tasks.everyday.caption_words import caption_words
from sigrl.training.tasks.everyday.class_kinds import class_kinds, kind_arrays, with_common_names
from sigrl.training.tasks.everyday.network import BEST_TOKENS
from sigrl.training.tasks.everyday.rivals import rival_arrays
from sigrl.training.tasks.everyday.trained import (
    Trained,
    keep_photographs,
    text_vectors,
)

Array = npt.NDArray[np.float32]

LEAST_MENTIONS = 3
"""A word counts as met in training if at least this many photographs mention it."""
DEFAULT_GAINS: dict[str, float] = {
    "known_word": 0.7,
    "known_open": 0.45,
    "known_offset": 0.2,
    "new_class": 0.35,
    "class_cut": 0.45,
    "own_class": 1.25,
    "own_open": 0.54,
    "own_offset": -0.47,
    "own_cut": 0.9,
    "near_words": 0.3,
    "near_cut": 0.7,
    "graph": 0.18,
}
"""The three of a class's own name were fitted to 1,177 pairs of a class and a photograph of `everyday`'s
train and val splits, judged right or wrong by reading the photograph's description, in which the class has a
probability of at least 0.07; and, with a quarter of the weight, to 1,000 photographs of one ImageNet class
each."""
DEFAULT_SLOPE, DEFAULT_OFFSET = 0.3, -4.5
"""For any new word: the logarithm of the weight of one deviation of its matching, and the logit at the
mean."""


@dataclass(frozen=True, eq=False)
class Draft:
    """Everything that computes scores, except the towers."""

    trained: Trained
    words: npt.NDArray[np.int64]
    """[n]: the known words that have their own logit."""
    head: HeadConfig
    arrays: Mapping[str, Array]
    """Named as in `sigrl.model.evidence_arrays.shapes`."""
    background: KeptFeatures
    background_rows: npt.NDArray[np.int64]
    """[N]: rows of the background set's photographs."""

    @cached_property
    def evidence(self) -> Evidence:
        """The head."""
        heads = self.trained.network.heads
        scales = {
            name: getattr(heads, name).detach().numpy()
            for name in ("log_global_scale", "log_local_scale", "bias")
        }
        return Evidence(self.head, {**self.arrays, **scales})

    def fitted(self, arrays: Mapping[str, Array], gains: dict[str, float]) -> "Draft":
        """A copy with other arrays and other gains."""
        made = {name: np.ascontiguousarray(array, np.float32) for name, array in arrays.items()}
        for name, of in (
            ("gains", GAINS),
            ("broader_gains", BROADER_GAINS),
            ("caption_gains", CAPTION_GAINS),
        ):
            if name in self.arrays:
                values = dict(zip(of, self.arrays[name].tolist(), strict=True)) | gains
                made[name] = np.array([values[one] for one in of], np.float32)
        return replace(self, arrays={**self.arrays, **made})

    def with_threshold(self, new_words: float) -> "Draft":
        """A copy with another threshold of new words."""
        evidence = self.head.evidence
        assert evidence is not None
        return self.with_evidence(evidence.model_copy(update={"new_word_threshold": new_words}))

    def with_evidence(self, evidence: EvidenceConfig) -> "Draft":
        """A copy with another configuration; an array for which it has no place is not used."""
        return replace(self, head=self.head.model_copy(update={"evidence": evidence}))

    def with_prior(self) -> "Draft":
        """A copy whose known words have the mean probability that they have on the background set."""
        _, _, word_logits = self.background.restored(slice(None))
        assert word_logits is not None
        return self.fitted({"known_prior": sigmoid(self.evidence.known_logits(word_logits)).mean(axis=0)}, {})


def make_draft(trained: Trained) -> Draft:
    """The head with default weights and a graph without effect. Raises DataError if no word has enough
    photographs, or if the background set is empty."""
    words = frequent_words(trained)
    if not len(words):
        raise DataError("no word has enough photographs: name more sources, or lower `known_words`")
    names = [trained.targets.known_words[word] for word in words]
    drawn = background_rows(trained)
    background = keep_photographs(trained, drawn, words)
    # The table knows the hidden words, which must stay unknown.
    kinds = {
        name: classes
        for name, classes in class_kinds(trained.vocabulary).items()
        if name not in trained.hidden
    }
    of_words = kind_arrays(names, kinds)
    new = {name: classes for name, classes in kinds.items() if name not in names}
    classes = with_common_names(imagenet_class_names(), new)
    met, counts = lexicon(trained)
    known = text_vectors(trained, names, "known words")
    labels = trained.targets.known[trained.trained_on][:, words]
    of_rivals = rival_arrays(names, known, labels, trained.vocabulary)
    # Without kinds, nothing says how much a class counts.
    broader = broader_words(names) if of_words else Broader((), {})
    captioned = caption_words(trained, words)
    config = EvidenceConfig(
        known_words=known_word_names(
            names, {label.name: label.synonyms for label in trained.vocabulary.labels}
        ),
        class_texts=sum(map(len, classes)),
        lexicon=len(met),
        rank=trained.config.graph.rank,
        kind_pairs=len(of_words.get("kind_words", ())),
        rival_pairs=len(of_rivals.get("rival_words", ())),
        broader_words=broader.words,
        broader_pairs=len(broader.arrays.get("broader_pairs", ())),
        caption_words=captioned.words,
        tower_logits=captioned.arrays["caption_weights"].shape[1] if captioned.words else 0,
    )
    arrays = {name: np.zeros(shape, np.float32) for name, shape in shapes(config, known.shape[1]).items()}
    arrays |= of_words | of_rivals | broader.arrays | captioned.arrays
    arrays |= {
        "known_labels": known,
        "class_labels": text_vectors(trained, [name for of in classes for name in of], "ImageNet's names"),
        "class_rows": np.repeat(np.arange(len(classes)), [len(of) for of in classes]).astype(np.float32),
        "lexicon": text_vectors(trained, met, "words that training met"),
        "lexicon_counts": counts,
    }
    arrays["feature_deviation"][:] = 1
    arrays["slope"][0], arrays["offset"][0] = DEFAULT_SLOPE, DEFAULT_OFFSET
    head = HeadConfig(kind="evidence", form="context", top_k=BEST_TOKENS, evidence=config)
    return Draft(trained, words, head, arrays, background, drawn).fitted({}, DEFAULT_GAINS).with_prior()


def frequent_words(trained: Trained) -> npt.NDArray[np.int64]:
    """The known words that were labelled on enough photographs."""
    is_dense = np.array([one.dense for one in trained.photographs])
    positive = trained.targets.known > 0
    dense = positive[trained.trained_on & is_dense].sum(axis=0)
    others = positive[trained.trained_on & ~is_dense].sum(axis=0)
    least = trained.config.known_words
    told = ~np.isin(trained.targets.known_words, trained.hidden)
    return np.flatnonzero(told & ((dense >= least.dense) | (others >= least.others)))


def background_rows(trained: Trained) -> npt.NDArray[np.int64]:
    """The photographs of the background set, drawn from those that were trained on. Raises DataError."""
    sources = np.array([one.source for one in trained.photographs])
    draw = np.random.default_rng(trained.config.draw_seed)
    drawn = []
    for source, count in trained.config.background.items():
        members = np.flatnonzero(trained.trained_on & (sources == source))
        drawn.append(draw.choice(members, min(count, len(members)), replace=False))
    rows = np.sort(np.concatenate(drawn)) if drawn else np.zeros(0, np.int64)
    if not len(rows):
        raise DataError("the background set has no photographs: set `background` to sources that the run has")
    return rows


def lexicon(trained: Trained) -> tuple[list[str], Array]:
    """The words that training met, and log(1 + n) of the number n of photographs with each."""
    targets = trained.targets
    held = (targets.known[trained.trained_on] > 0).sum(axis=0)
    mentioned = np.zeros(len(targets.words), np.int64)
    for row in np.flatnonzero(trained.trained_on):
        mentioned[list(targets.mentions[row])] += 1
    counts = np.concatenate([held, mentioned])
    words = (*targets.known_words, *targets.words)
    met = np.flatnonzero(counts >= LEAST_MENTIONS)
    return [words[place] for place in met], np.log1p(counts[met]).astype(np.float32)


def known_word_names(
    names: list[str], synonyms: Mapping[str, tuple[str, ...]]
) -> tuple[tuple[str, ...], ...]:
    """The names in the form of `EvidenceConfig.known_words`; a synonym that is also another word's name is
    left out."""
    own = {name.casefold() for name in names}
    return tuple(
        (name, *(other for other in synonyms.get(name, ()) if other.casefold() not in own)) for name in names
    )
