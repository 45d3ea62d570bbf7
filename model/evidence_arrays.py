"""The arrays of an evidence head as a bundle stores them: their names, shapes and checks."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from sigrl.model.broader_words import BROADER_GAINS
from sigrl.model.caption_words import CAPTION_GAINS
from sigrl.model.class_evidence import KIND_GAINS
from sigrl.model.config import EvidenceConfig
from sigrl.model.label_facts import FEATURES

Array = npt.NDArray[np.float32]

GAINS = (
    "known_word",  # known words: the word's own logit, matching, and a constant
    "known_open",
    "known_offset",
    "new_class",  # new words: the log odds of similar classes
    "class_cut",  # the classes count above this cosine of the nearest one
    "own_class",  # new words that name classes: the log odds of these, matching, and a constant
    "own_open",
    "own_offset",
    "own_cut",  # a label is the name of the nearest classes above this cosine
    "near_words",  # new words: the logits of nearby known words
    "near_cut",  # the known words count above this cosine of the nearest one
    "graph",  # known and new words: GMC over all known words on the photograph
)
"""The weights of the pieces of evidence in a calibrated logit, and the cuts that switch some of them on."""


def shapes(config: EvidenceConfig, embed_dim: int) -> dict[str, tuple[int, ...]]:
    """The shapes of an evidence head's arrays, by name; a bundle stores them as `head.<name>`."""
    words = len(config.known_words)
    kinds = {
        "kind_words": (config.kind_pairs,),  # of each pair, a known word
        "kind_classes": (config.kind_pairs,),  # and a class that is a kind of it
        "kind_gains": (len(KIND_GAINS),),
    }
    broader = {
        # Of each pair, a broader word, and a known word or, counted on from these, a class.
        "broader_pairs": (config.broader_pairs, 2),
        "broader_gains": (len(BROADER_GAINS),),
    }
    captions = {
        "caption_weights": (len(config.caption_words), config.tower_logits),
        "caption_bias": (len(config.caption_words),),
        "caption_gains": (len(CAPTION_GAINS),),
    }
    rivals = {"rival_words": (config.rival_pairs, 2), "rival_gain": (1,)}
    return (
        (kinds if config.kind_pairs else {})
        | (rivals if config.rival_pairs else {})
        | (broader if config.broader_words else {})
        | (captions if config.caption_words else {})
        | {
            "known_labels": (words, embed_dim),  # unit norm
            "known_prior": (words,),  # mean probability on everyday photographs
            "class_labels": (config.class_texts, embed_dim),  # unit norm
            "class_rows": (config.class_texts,),  # the class that each name belongs to
            "lexicon": (config.lexicon, embed_dim),  # unit norm
            "lexicon_counts": (config.lexicon,),  # log(1 + number of photographs whose caption has the word)
            "graph_query": (embed_dim, config.rank),
            "graph_key": (embed_dim, config.rank),
            "feature_mean": (len(FEATURES),),
            "feature_deviation": (len(FEATURES),),
            "slope": (1 + len(FEATURES),),
            "offset": (1 + len(FEATURES),),
            "gains": (len(GAINS),),
        }
    )


def check_arrays(config: EvidenceConfig, embed_dim: int, classes: int, arrays: Mapping[str, Array]) -> None:
    """Raises ValueError for arrays that do not fit the configuration or the number of `classes`."""
    for name, shape in shapes(config, embed_dim).items():
        if name not in arrays or arrays[name].shape != shape:
            raise ValueError(f"`head.{name}` is missing or does not have the shape {list(shape)}")
        if not np.isfinite(arrays[name]).all():
            raise ValueError(f"`head.{name}` has values that are not finite: make the bundle again")
    words = len(config.known_words)
    if config.caption_words and config.tower_logits != words + classes:
        raise ValueError(
            f"`tower_logits` is {config.tower_logits}, and the image tower has {words + classes}"
        )
    limits = {"class_rows": classes, "kind_classes": classes, "kind_words": words, "rival_words": words}
    for name, count in limits.items():
        rows = arrays.get(name, np.zeros(0))
        if ((rows < 0) | (rows >= count)).any():
            raise ValueError(f"`head.{name}` has a number that is not below {count}: make the bundle again")
    if config.broader_words:
        above, below = arrays["broader_pairs"].T
        for rows, count in ((above, len(config.broader_words)), (below, words + classes)):
            if ((rows < 0) | (rows >= count)).any():
                raise ValueError(
                    f"`head.broader_pairs` has a number that is not below {count}: make the bundle again"
                )
        if len(np.unique(above)) < len(config.broader_words):
            raise ValueError("`head.broader_pairs` has nothing below a broader word: make the bundle again")
    if config.rival_pairs:
        one, other = arrays["rival_words"].T
        if (one == other).any():
            raise ValueError("`head.rival_words` pairs a word with itself: make the bundle again")
        if arrays["rival_gain"][0] < 0:
            raise ValueError("`head.rival_gain` is negative: make the bundle again")
