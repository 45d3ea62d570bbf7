"""The second training, without some words."""

import numpy as np

from sigrl.training.data.dataset import DataError
from sigrl.training.tasks.everyday.config import EverydayConfig, LeftOutConfig
from sigrl.training.tasks.everyday.names import ClassNames
from sigrl.training.tasks.everyday.run import train
from sigrl.training.tasks.everyday.trained import Trained

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
    names = ClassNames(trained.names, trained.vocabulary)
    meant = {name for label in left_out.coco if (name := names.of_coco(label)) is not None}
    apart = meant.union(trained.hidden, *(names.descendants[name] for name in meant))
    drawable = [name for name in trained.names if name not in apart]
    if len(drawable) < left_out.count:
        raise DataError(f"only {len(drawable)} names can be left out: lower `left_out.count`")
    drawn = np.random.default_rng(left_out.seed).choice(len(drawable), left_out.count, replace=False)
    return tuple(drawable[place] for place in sorted(drawn.tolist()))


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
