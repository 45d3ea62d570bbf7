"""From probabilities to tags: the one place that decides what is shown."""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import TypedDict

import numpy as np
import numpy.typing as npt

from sigrl.model.label_calibration import EverydayGoal, FalsePositiveRate, TargetPrecision, TargetRecall
from sigrl.model.vocabulary import Vocabulary
from sigrl.service.errors import ParameterError
from sigrl.service.schemas.tagging import Tag

DEFAULT_TOP_K = 10
SURE = 0.7
"""Threshold of every label where nobody has said what to look for: nine of ten tags shown are right then, on
photographs that it was not chosen on. A label with a warning has no lower one unless the caller sets it."""
GUESSES = 3
_DIGITS = 6
_GOALS: dict[str, Callable[[float], EverydayGoal]] = {
    "false_positive_rate": FalsePositiveRate,
    "precision": TargetPrecision,
    "recall": TargetRecall,
}


class Thresholds(TypedDict, total=False):
    """What thresholds follow from; at most one of them."""

    threshold: float | None
    false_positive_rate: float | None
    precision: float | None
    recall: float | None


THRESHOLDS = tuple(Thresholds.__annotations__)


@dataclass(frozen=True)
class Chosen:
    """What is shown of one photograph, each in order of falling probability."""

    tags: tuple[Tag, ...]
    implied: tuple[Tag, ...] = ()
    """Accepted labels that a narrower one among the accepted implies."""
    guesses: tuple[Tag, ...] = ()
    """The most probable labels, where none is accepted."""


@dataclass(frozen=True)
class Selection:
    """Which labels become tags, best first.

    - Nothing given: every label that reaches its threshold; the three most probable as guesses where none
      does. If the caller named no labels either (`brief`), at most the ten best, and what a narrower label
      among them implies is told beside them.
    - `threshold`: every label that reaches it, without a limit.
    - `false_positive_rate`, `precision`, `recall`: every label that reaches the threshold at which at most
      this share of everyday photographs without it gets it, at which this share of those that get it is
      expected to show it, or at which this share of those that show it is expected to get it. Without a
      limit; the checkpoint must have a background set.
    - `top_k`: that many labels whether they reach their threshold or not; `Tag.accepted` says which do.
    - `top_k` with one of these: labels that reach their threshold, at most `top_k`.

    A label's threshold is its own from the vocabulary, else the request's, else what follows from the
    vocabulary's precision or recall, else 0.7 for a `brief` answer, else the one that the checkpoint has
    for it. A label with a label below it that reaches its threshold counts as reaching its own; one that an
    exclusive group rules out does not.
    """

    top_k: int | None = None
    threshold: float | None = None
    false_positive_rate: float | None = None
    precision: float | None = None
    recall: float | None = None
    brief: bool = False

    def __post_init__(self) -> None:
        if self.top_k is not None and self.top_k < 1:
            raise ParameterError(f"top_k is {self.top_k}", "give a whole number from 1 on")
        if self.threshold is not None and not 0.0 <= self.threshold <= 1.0:
            raise ParameterError(f"threshold is {self.threshold}", "give a probability between 0 and 1")
        given = [] if self.threshold is None else ["threshold"]
        for name in _GOALS:
            share = getattr(self, name)
            if share is not None and not 0.0 < share < 1.0:
                raise ParameterError(f"{name} is {share}", "give a share between 0 and 1, as 0.01 or 0.9")
            given += [] if share is None else [name]
        if len(given) > 1:
            raise ParameterError(f"both {given[0]} and {given[1]} are given", "give one of them")

    @property
    def goal(self) -> EverydayGoal | None:
        """What the request wants thresholds to follow from, if it does."""
        for name, kind in _GOALS.items():
            if (share := getattr(self, name)) is not None:
                return kind(share)
        return None

    @property
    def sets_thresholds(self) -> bool:
        """Whether the request says something of them."""
        return self.threshold is not None or self.goal is not None

    def thresholds(
        self,
        vocabulary: Vocabulary,
        found: npt.NDArray[np.float32],
        doubtful: Collection[int] = (),
    ) -> npt.NDArray[np.float64]:
        """The threshold of each label, float64 [C]; `found` [C] are the checkpoint's, or those that follow
        from a goal, and `doubtful` the rows of labels with a warning."""
        # Rounded as probabilities are: 0.3 in float32 is a little more than 0.3.
        thresholds = found.astype(np.float64).round(_DIGITS)
        for index in doubtful:
            thresholds[index] = max(thresholds[index], SURE)
        if self.threshold is not None:
            thresholds[:] = self.threshold
        for index, label in enumerate(vocabulary.labels):
            if label.threshold is not None:
                thresholds[index] = label.threshold
        return thresholds

    def choose(
        self,
        vocabulary: Vocabulary,
        logits: npt.NDArray[np.float32],
        probabilities: npt.NDArray[np.float32],
        thresholds: npt.NDArray[np.float64],
    ) -> Chosen:
        """What is shown of one photograph, after what the labels say of one another; all arrays are [C]."""
        rounded, accepted = verdicts(vocabulary, probabilities, thresholds)
        order = np.lexsort((-logits, -rounded))

        def tags(rows: Iterable[int]) -> tuple[Tag, ...]:
            return tuple(
                Tag(
                    label=vocabulary.names[index],
                    probability=float(rounded[index]),
                    score=round(float(logits[index]), _DIGITS),
                    threshold=float(thresholds[index]),
                    accepted=bool(accepted[index]),
                )
                for index in rows
            )

        if self.top_k is not None:
            shown = order[accepted[order]] if self.sets_thresholds else order
            return Chosen(tags(shown[: self.top_k]))
        if not accepted.any():
            return Chosen((), guesses=tags(order[:GUESSES]))
        if not self.brief or self.sets_thresholds:
            return Chosen(tags(order[accepted[order]]))
        narrowest = vocabulary.hierarchy.narrowest(accepted)
        best = order[narrowest[order]][:DEFAULT_TOP_K]
        return Chosen(tags(best), implied=tags(order[(accepted & ~narrowest)[order]]))


def verdicts(
    vocabulary: Vocabulary, probabilities: npt.NDArray[np.float32], thresholds: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.floating], npt.NDArray[np.bool_]]:
    """(probabilities as they are answered, which labels count as present) of one photograph, after what the
    labels say of one another; all arrays are [C]."""
    settled = vocabulary.hierarchy.settle(probabilities.astype(np.float64))
    # Rounded before it is compared, so that whoever repeats the comparison on the answer agrees with it.
    rounded = np.round(settled, _DIGITS)
    return rounded, vocabulary.hierarchy.accept(rounded, thresholds)
