"""The second training, without some words."""

import numpy as np

from sigrl.training.data.dataset import DataError
from sigrl.training.tasks.everyday.config import EverydayConfig, LeftOutConfig
from sigrl.training.tasks.everyday.names import ClassNames
from sigrl.training.tasks.everyday.run import train
from sigrl.training.tasks.everyday.trained import Trained, dense_rows, known_labels

LEFT_OUT = "left_out"
"""Folder of the second training in a run's directory."""


def train_left_out(trained: Trained, left_out: LeftOutConfig) -> tuple[Trained, tuple[str, ...]]:
    """Trains as `trained` was, but without some of its words, in a separate folder. Returns the training and
    the words. Raises DataError."""
    words = draw_words(trained, left_out)
    second = train(
        left_out_config(trained.config, left_out, words), trained.directory / LEFT_OUT, trained.start
    )
    return second, tuple(name for name in second.hidden if name not in trained.hidden)


def draw_words(trained: Trained, left_out: LeftOutConfig) -> tuple[str, ...]:
    """The names to leave out beside COCO's labels. Raises DataError if there are too few."""
    dense = dense_rows(trained, "train", sought=True)
    share = (known_labels(trained, dense) > 0).mean(axis=0)
    names = ClassNames(trained.names, trained.vocabulary)
    meant = {name for label in left_out.coco if (name := names.of_coco(label)) is not None}
    apart = meant.union(trained.hidden, *(names.descendants[name] for name in meant))
    rare = [
        name
        for name, shown in zip(trained.names, share, strict=False)
        if shown < left_out.most_frequent and name not in apart
    ]
    if len(rare) < left_out.count:
        raise DataError(
            f"only {len(rare)} names are rare enough to leave out: lower `left_out.count`, or raise "
            "`left_out.most_frequent`"
        )
    drawn = np.random.default_rng(left_out.seed).choice(len(rare), left_out.count, replace=False)
    return tuple(rare[place] for place in sorted(drawn.tolist()))


def left_out_config(
    config: EverydayConfig, left_out: LeftOutConfig, words: tuple[str, ...]
) -> EverydayConfig:
    """The configuration of the second training: the same except for its words, its steps and its views,
    which change the known words' head most, and that is not used for left-out words."""
    training = config.training.model_copy(update={"steps": left_out.steps})
    changes = {
        "hidden_words": (*config.hidden_words, *words),
        "hidden_coco": (*config.hidden_coco, *left_out.coco),
        "other_names": {**config.other_names, **left_out.other_names},
        "training": training,
        "views": (),
        "left_out": None,
    }
    return config.model_copy(update=changes)
