"""Measures of tags against dense labels; pure functions on NumPy arrays.

Labels [N, C] are +1 where the name holds, -1 where it does not, 0 where nobody is sure; those pairs count in
no measure. Shares are in percent.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from sigrl.model.calibration import calibration_error
from sigrl.training.measures.metrics import average_precision_of_known

LEAST_POSITIVES = 3
"""Photographs that must show a name for its average precision to count."""
_DRAWS = 200

Labels = npt.NDArray[np.int8]
Booleans = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.floating]
Numbers = dict[str, float]
"""Measures by name."""


@dataclass(frozen=True)
class Decisions:
    """What one way of tagging says of N photographs and C names."""

    shown: Booleans
    """[N, C]"""
    counts: npt.NDArray[np.int64]
    """Tags that each photograph gets, whether labels judge them or not, [N]."""
    probabilities: Floats | None = None
    """[N, C]; None where the way of tagging gives none for every name."""

    @classmethod
    def of(cls, shown: Booleans, probabilities: Floats | None = None) -> "Decisions":
        """Where all tags are among the names."""
        return cls(shown, shown.sum(axis=1), probabilities)

    def photographs(self, rows: npt.NDArray[np.integer] | Booleans) -> "Decisions":
        """Those of some photographs."""
        kept = None if self.probabilities is None else self.probabilities[rows]
        return Decisions(self.shown[rows], self.counts[rows], kept)

    def names(self, columns: npt.NDArray[np.integer] | Booleans) -> "Decisions":
        """Those about some names."""
        kept = None if self.probabilities is None else self.probabilities[:, columns]
        return replace(self, shown=self.shown[:, columns], probabilities=kept)


def counted_names(labels: Labels) -> Booleans:
    """Which names hold on enough photographs for an average precision, [C]."""
    counted: Booleans = (labels > 0).sum(axis=0) >= LEAST_POSITIVES
    return counted


def pair_measures(decisions: Decisions, labels: Labels, counted: Booleans) -> Numbers:
    """Over all pairs of a photograph and a name: precision, recall and F1 (micro). Where there are
    probabilities also the calibration error, and the mean average precision over the names `counted` [C], if
    there are any."""
    right = float((decisions.shown & (labels > 0)).sum())
    judged = float((decisions.shown & (labels != 0)).sum())
    true = float((labels > 0).sum())
    found = {
        "precision": _percent(right, judged),
        "recall": _percent(right, true),
        "f1": _percent(2 * right, judged + true),
    }
    if decisions.probabilities is not None:
        found["ece"] = 100 * calibration_error(decisions.probabilities.astype(np.float32), labels)
        if counted.any():
            # A draw of photographs may miss a name, or all of them.
            some = counted & (labels > 0).any(axis=0)
            precisions = average_precision_of_known(decisions.probabilities[:, some], labels[:, some])
            found["map"] = float(precisions.mean()) if some.any() else float("nan")
    return found


def photograph_measures(decisions: Decisions, labels: Labels, person: int) -> Numbers:
    """Tags a photograph; of photographs without a person, the share that gets the name in column `person`;
    the share with no tag that holds (a tag that nobody is sure of is none), and with no tag at all."""
    without = labels[:, person] < 0
    right = (decisions.shown & (labels > 0)).any(axis=1)
    return {
        "shown": float(decisions.counts.mean()),
        "person": _percent(float(decisions.shown[without, person].sum()), float(without.sum())),
        "nothing_right": 100 * float(1 - right.mean()),
        "nothing_shown": 100 * float((decisions.counts == 0).mean()),
    }


def all_measures(decisions: Decisions, labels: Labels, person: int, counted: Booleans) -> Numbers:
    """Both together."""
    return pair_measures(decisions, labels, counted) | photograph_measures(decisions, labels, person)


def deviations(measure: Callable[[npt.NDArray[np.int64]], Numbers], photographs: int) -> Numbers:
    """Standard deviations by the bootstrap: what `measure` says of 200 draws of `photographs` rows, with
    replacement, the same in every call."""
    random = np.random.default_rng(0)
    draws = [measure(random.integers(photographs, size=photographs)) for _ in range(_DRAWS)]
    return {name: float(np.nanstd([draw[name] for draw in draws])) for name in draws[0]}


def oracle_thresholds(probabilities: Floats, labels: Labels) -> Floats:
    """The threshold of each name with the best F1 on these very labels, [C]; infinite for a name that never
    holds."""
    thresholds = np.full(labels.shape[1], np.inf)
    for column in np.flatnonzero((labels > 0).any(axis=0)):
        known = labels[:, column] != 0
        values, holds = probabilities[known, column], labels[known, column] > 0
        order = np.argsort(-values, kind="stable")
        right = holds[order].cumsum()
        f1 = 2 * right / (np.arange(1, len(order) + 1) + right[-1])
        # A threshold takes all that are equal to it.
        f1[:-1][np.diff(values[order]) == 0] = 0
        thresholds[column] = values[order[f1.argmax()]]
    return thresholds


def constant_guess(labels: Labels) -> Booleans:
    """The same names for every photograph, the most frequent ones: as many as give the best micro F1 on
    these labels, [C]."""
    right, known = (labels > 0).sum(axis=0), (labels != 0).sum(axis=0)
    order = np.argsort(-right, kind="stable")
    f1 = 2 * right[order].cumsum() / (known[order].cumsum() + right.sum())
    guessed = np.zeros(labels.shape[1], bool)
    guessed[order[: f1.argmax() + 1]] = True
    return guessed


@dataclass(frozen=True)
class NameCounts:
    """How often one name is shown rightly, wrongly, and not though it holds."""

    name: str
    right: int
    wrong: int
    missed: int


def name_counts(shown: Booleans, labels: Labels, names: tuple[str, ...]) -> list[NameCounts]:
    """Of each name, in their order."""
    right = (shown & (labels > 0)).sum(axis=0)
    wrong, missed = (shown & (labels < 0)).sum(axis=0), (~shown & (labels > 0)).sum(axis=0)
    return [
        NameCounts(*each) for each in zip(names, right.tolist(), wrong.tolist(), missed.tolist(), strict=True)
    ]


def _percent(part: float, whole: float) -> float:
    return 100 * part / whole if whole else 0.0
