"""The photographs of a run on NUS-WIDE, whatever it trains."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field

from sigrl.model.config import Frozen
from sigrl.training.data.check import BadData, DataReport, check, without_bad_files
from sigrl.training.data.dataset import LabelledPhotographs, Problem
from sigrl.training.data.nuswide import read_nuswide
from sigrl.training.loop.task import LoopConfig


class NusWideRun(Frozen):
    """What every task on NUS-WIDE is told."""

    start: Path
    """Bundle that training starts from."""
    root: Path
    """See `read_nuswide`."""
    bad_data: BadData = "stop"
    """Photographs that are missing, unreadable or without labels: stop at the first, or skip and count."""
    check: Literal["decode", "exists"] = "decode"
    """What is looked at before training: every file read to its end, or only whether it is there."""
    held_out: float = Field(0.02, ge=0, lt=1)
    """Share of the training photographs on which epochs are compared; 0: the last epoch is taken."""
    loop: LoopConfig = LoopConfig()


@dataclass(frozen=True)
class NusWide:
    """The photographs of a run."""

    train: LabelledPhotographs
    """With the seen labels; each holds at least one positive."""
    held_out: LabelledPhotographs
    """With the seen labels."""
    test: LabelledPhotographs
    """With all labels, the unseen ones last."""
    skipped: dict[str, int]
    """Kind of problem -> how many photographs it concerned."""


def load_nuswide(config: NusWideRun) -> NusWide:
    """Reads labels and looks at every photograph before anything is trained.

    Raises DataError for the first that cannot be used, or where none is left.
    """
    skipped: Counter[str] = Counter()

    def usable(photographs: LabelledPhotographs, problems: list[Problem]) -> LabelledPhotographs:
        report = check(photographs, problems, decode=config.check == "decode")
        kept = without_bad_files(photographs, report, config.bad_data)
        skipped.update(problem.kind for problem in report.problems)
        return kept

    problems: list[Problem] = []
    seen = read_nuswide(config.root, "train", "seen", problems.append)
    trained = usable(seen.with_positives(), problems)
    problems = []
    test = usable(read_nuswide(config.root, "test", "all", problems.append), problems)
    order = np.random.default_rng(config.loop.seed).permutation(len(trained))
    count = round(config.held_out * len(trained))
    return NusWide(trained.select(order[count:]), trained.select(order[:count]), test, dict(skipped))


def check_nuswide(config: NusWideRun) -> dict[str, DataReport]:
    """What is wrong with the photographs of a run. Raises DataError for files that cannot be read at all."""
    reports = {}
    for split, labels in (("train", "seen"), ("test", "all")):
        problems: list[Problem] = []
        photographs = read_nuswide(config.root, split, labels, problems.append)
        reports[split] = check(photographs, problems, decode=config.check == "decode")
    return reports


def held_out_photographs(config: NusWideRun) -> LabelledPhotographs:
    """The test photographs with all labels, as far as they can be used."""
    problems: list[Problem] = []
    test = read_nuswide(config.root, "test", "all", problems.append)
    return without_bad_files(test, check(test, problems, decode=False), config.bad_data)
