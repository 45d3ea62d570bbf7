"""The photographs of a run on NUS-WIDE, shared by all its tasks."""

from collections import Counter
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field

from sigrl.model.config import Frozen
from sigrl.training.data.check import BadData, DataReport, check, compare_with_protocol, usable
from sigrl.training.data.dataset import LabelledPhotographs, Problem
from sigrl.training.data.nuswide import read_nuswide
from sigrl.training.loop.task import LoopConfig

PHOTOGRAPHS = {"train": 161_789, "test": 107_859}
"""Of the protocol."""


class NusWideRun(Frozen):
    """The configuration that all tasks on NUS-WIDE share."""

    start: Path
    """Bundle that training starts from."""
    root: Path
    """See `read_nuswide`."""
    bad_data: BadData = "stop"
    """For photographs that are missing, unreadable or without labels: stop at the first, or skip and count
    them."""
    check: Literal["decode", "exists"] = "decode"
    """The check before training: decode every file completely, or only see whether it exists."""
    held_out: float = Field(0.02, ge=0, lt=1)
    """Share of the training photographs on which epochs are compared; 0: the last epoch is used."""
    loop: LoopConfig = LoopConfig()


@dataclass(frozen=True)
class NusWide:
    """The photographs of a run."""

    train: LabelledPhotographs
    """With the seen labels; each photograph has at least one positive."""
    held_out: LabelledPhotographs
    """With the seen labels."""
    test: LabelledPhotographs
    """With all labels, the unseen ones last."""
    skipped: dict[str, int]
    """Kind of problem -> number of photographs."""


def load_nuswide(config: NusWideRun) -> NusWide:
    """Reads the labels and checks every photograph before training.

    Raises DataError for the first photograph that cannot be used, or if none is left.
    """
    skipped: Counter[str] = Counter()
    checked = partial(usable, decode=config.check == "decode", bad_data=config.bad_data, skipped=skipped)
    problems: list[Problem] = []
    seen = read_nuswide(config.root, "train", "seen", problems.append)
    trained = checked(seen.with_positives(), problems)
    problems = []
    test = checked(read_nuswide(config.root, "test", "all", problems.append), problems)
    order = np.random.default_rng(config.loop.seed).permutation(len(trained))
    count = round(config.held_out * len(trained))
    return NusWide(trained.select(order[count:]), trained.select(order[:count]), test, dict(skipped))


def check_nuswide(config: NusWideRun) -> dict[str, DataReport]:
    """The problems with the photographs of a run. Raises DataError for files that cannot be read at all."""
    reports = {}
    for split, labels in (("train", "seen"), ("test", "all")):
        problems: list[Problem] = []
        photographs = read_nuswide(config.root, split, labels, problems.append)
        reports[split] = check(photographs, problems, decode=config.check == "decode")
        reports[split].warnings += compare_with_protocol(len(photographs), "NUS-WIDE", PHOTOGRAPHS[split])
    return reports


def held_out_photographs(config: NusWideRun) -> LabelledPhotographs:
    """The usable test photographs with all labels."""
    problems: list[Problem] = []
    test = read_nuswide(config.root, "test", "all", problems.append)
    return usable(test, problems, decode=False, bad_data=config.bad_data)
