"""Measures of tags against dense labels; pure functions on NumPy arrays.

Labels [N, C] are +1 where the name applies, -1 where it does not, and 0 where the labeller was unsure; unsure
pairs count in no measure. Shares are in percent.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from sigrl.model.calibration import calibration_error
from sigrl.training.measures.metrics import average_precision_of_known

LEAST_POSITIVES = 3
"""Least number of positives for a name's average precision to count."""
_DRAWS = 200

Labels = npt.NDArray[np.int8]
Booleans = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.floating]
Numbers = dict[str, float]
"""Measures by name."""


@dataclass(frozen=True)
class Decisions:
    """The results of one way of tagging for N photographs and C names."""

    shown: Booleans
    """[N, C]"""
    counts: npt.NDArray[np.int64]
    """Number of tags of each photograph, whether or not they have dense labels, [N]."""
    probabilities: Floats | None = None
    """[N, C]; None if the way of tagging does not give one for every name."""

    @classmethod
    def of(cls, shown: Booleans, probabilities: Floats | None = None) -> "Decisions":
        """Results whose tags are all among the names."""
        return cls(shown, shown.sum(axis=1), probabilities)

    def photographs(self, rows: npt.NDArray[np.integer] | Booleans) -> "Decisions":
        """The results for some photographs."""
        kept = None if self.probabilities is None else self.probabilities[rows]
        return Decisions(self.shown[rows], self.counts[rows], kept)

    def names(self, columns: npt.NDArray[np.integer] | Booleans) -> "Decisions":
        """The results for some names."""
        kept = None if self.probabilities is None else self.probabilities[:, columns]
        return replace(self, shown=self.shown[:, columns], probabilities=kept)


def counted_names(labels: Labels) -> Booleans:
    """Which names apply to enough photographs for an average precision, [C]."""
    counted: Booleans = (labels > 0).sum(axis=0) >= LEAST_POSITIVES
    return counted


def pair_measures(decisions: Decisions, labels: Labels, counted: Booleans) -> Numbers:
    """Micro precision, recall and F1 over all pairs of photograph and name. With probabilities, also the
    calibration error and, if any names are `counted` [C], the mean average precision over them."""
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
            # A bootstrap sample may have no positive for a name, or for all of them.
            some = counted & (labels > 0).any(axis=0)
            precisions = average_precision_of_known(decisions.probabilities[:, some], labels[:, some])
            found["map"] = float(precisions.mean()) if some.any() else float("nan")
    return found


def photograph_measures(decisions: Decisions, labels: Labels, person: int) -> Numbers:
    """Tags per photograph; of the photographs without a person, the share that gets the name in column
    `person`; the share without a right tag (unsure tags do not count as right); and the share without any
    tag."""
    without = labels[:, person] < 0
    right = (decisions.shown & (labels > 0)).any(axis=1)
    return {
        "shown": float(decisions.counts.mean()),
        "person": _percent(float(decisions.shown[without, person].sum()), float(without.sum())),
        "nothing_right": 100 * float(1 - right.mean()),
        "nothing_shown": 100 * float((decisions.counts == 0).mean()),
    }


def all_measures(decisions: Decisions, labels: Labels, person: int, counted: Booleans) -> Numbers:
    """The measures of pairs and of photographs together."""
    return pair_measures(decisions, labels, counted) | photograph_measures(decisions, labels, person)


def deviations(measure: Callable[[npt.NDArray[np.int64]], Numbers], photographs: int) -> Numbers:
    """Bootstrap standard deviations: those of `measure` over 200 samples of `photographs` rows with
    replacement, which are the same in every call."""
    random = np.random.default_rng(0)
    draws = [measure(random.integers(photographs, size=photographs)) for _ in range(_DRAWS)]
    return {name: float(np.nanstd([draw[name] for draw in draws])) for name in draws[0]}


def oracle_thresholds(probabilities: Floats, labels: Labels) -> Floats:
    """The thresholds [C] that together have the best micro F1 on these same labels; infinite for a name that
    is better never shown."""
    positives, best = float((labels > 0).sum()), 0.0
    while True:
        # Dinkelbach (1967): for the best ratio of two sums, subtract the denominator times the ratio so far.
        chosen = [_gainful(each, of, best) for each, of in zip(probabilities.T, labels.T, strict=True)]
        thresholds, shown, right = map(np.array, zip(*chosen, strict=True))
        found = 2 * right.sum() / max(shown.sum() + positives, 1)
        if found <= best:
            return thresholds
        best = found


def _gainful(probabilities: Floats, labels: Labels, price: float) -> tuple[float, int, int]:
    """The threshold of one name at which 2 x right - `price` x shown is greatest, with the numbers shown and
    right there."""
    known = labels != 0
    order = np.argsort(-probabilities[known], kind="stable")
    values, right = probabilities[known][order], (labels[known] > 0)[order].cumsum()
    gains = 2 * right - price * np.arange(1, len(order) + 1)
    # A threshold includes all probabilities equal to it.
    gains[:-1][np.diff(values) == 0] = -np.inf
    if not len(gains) or gains.max() <= 0:
        return np.inf, 0, 0
    place = int(gains.argmax())
    return float(values[place]), place + 1, int(right[place])


def constant_guess(labels: Labels) -> Booleans:
    """The most frequent names, as many as give the best micro F1 if every photograph gets them, [C]."""
    right, known = (labels > 0).sum(axis=0), (labels != 0).sum(axis=0)
    order = np.argsort(-right, kind="stable")
    f1 = 2 * right[order].cumsum() / (known[order].cumsum() + right.sum())
    guessed = np.zeros(labels.shape[1], bool)
    guessed[order[: f1.argmax() + 1]] = True
    return guessed


@dataclass(frozen=True)
class NameCounts:
    """How often a name is shown correctly, shown wrongly, and missed."""

    name: str
    right: int
    wrong: int
    missed: int


def name_counts(shown: Booleans, labels: Labels, names: tuple[str, ...]) -> list[NameCounts]:
    """The counts of each name, in the order of the names."""
    right = (shown & (labels > 0)).sum(axis=0)
    wrong, missed = (shown & (labels < 0)).sum(axis=0), (~shown & (labels > 0)).sum(axis=0)
    return [
        NameCounts(*each) for each in zip(names, right.tolist(), wrong.tolist(), missed.tolist(), strict=True)
    ]


def _percent(part: float, whole: float) -> float:
    return 100 * part / whole if whole else 0.0
