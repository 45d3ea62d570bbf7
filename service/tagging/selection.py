"""Decides which labels become tags, and in which language they are named. No other module does."""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import TypedDict

import numpy as np
import numpy.typing as npt

from sigrl.model.label_calibration import EverydayGoal, FalsePositiveRate, TargetPrecision, TargetRecall
from sigrl.model.vocabulary import Label, Vocabulary
from sigrl.model.words import best_language
from sigrl.service.errors import ParameterError
from sigrl.service.schemas.tagging import Tag

DEFAULT_TOP_K = 10
SURE = 0.7
"""Threshold of every label if the caller names none. It makes nine of ten tags right on photographs that it
was not chosen on. It is also the lowest threshold of a label with a warning, unless the caller sets one."""
GUESSES = 3
LEAST_GUESS = 0.1
"""Least probability of a guess if the caller names nothing; below, it says nothing about the photograph."""
ANY_LANGUAGE = "*"
_DIGITS = 6
_GOALS: dict[str, Callable[[float], EverydayGoal]] = {
    "false_positive_rate": FalsePositiveRate,
    "precision": TargetPrecision,
    "recall": TargetRecall,
}


class Thresholds(TypedDict, total=False):
    """The arguments that determine thresholds. At most one may be given."""

    threshold: float | None
    false_positive_rate: float | None
    precision: float | None
    recall: float | None


THRESHOLDS = tuple(Thresholds.__annotations__)


@dataclass(frozen=True)
class Chosen:
    """The labels to show for one photograph, each group in order of decreasing probability."""

    tags: tuple[Tag, ...]
    implied: tuple[Tag, ...] = ()
    """Accepted labels that a narrower accepted label implies."""
    guesses: tuple[Tag, ...] = ()
    """The most probable labels if none is accepted."""


@dataclass(frozen=True)
class Selection:
    """Which labels become tags, most probable first.

    - No argument: every label that reaches its threshold, or the three most probable as guesses if none
      does. If the caller named no labels either (`brief`), at most ten labels, and no guess below 10 %;
      labels that a narrower one implies are returned separately.
    - `threshold`: every label that reaches it, without a limit.
    - `false_positive_rate`: every label that reaches the threshold at which at most this share of everyday
      photographs without the label gets it. The number of labels is not limited, here and with the next two;
      all three need a checkpoint with a background set.
    - `precision`: the same, with the threshold at which this share of the photographs that get the label is
      expected to show it.
    - `recall`: the same, with the threshold at which this share of the photographs that show the label is
      expected to get it.
    - `top_k` alone: that many labels whether or not they reach their threshold; see `Tag.accepted`.
    - `top_k` with another argument: at most `top_k` labels that reach their threshold.

    A label's threshold is its own in the vocabulary, else the request's, else the one that follows from the
    vocabulary's precision or recall, else 0.7 if `brief`, else the checkpoint's for this label; in
    a built-in vocabulary, that is at least the checkpoint's default. A label also counts as reaching its
    threshold if a narrower one does, and never if an exclusive group rules it out.
    """

    top_k: int | None = None
    threshold: float | None = None
    false_positive_rate: float | None = None
    precision: float | None = None
    recall: float | None = None
    brief: bool = False
    languages: tuple[str, ...] = ()
    """BCP 47 tags of the languages that tags are named in, best first. A vocabulary without translations into
    any of them is refused, or keeps its own names if the last one is `ANY_LANGUAGE`."""

    def __post_init__(self) -> None:
        if self.top_k is not None and self.top_k < 1:
            raise ParameterError(f"top_k is {self.top_k}", "give a whole number of at least 1")
        if self.threshold is not None and not 0.0 <= self.threshold <= 1.0:
            raise ParameterError(f"threshold is {self.threshold}", "give a probability between 0 and 1")
        given = [] if self.threshold is None else ["threshold"]
        for name in _GOALS:
            share = getattr(self, name)
            if share is not None and not 0.0 < share < 1.0:
                raise ParameterError(
                    f"{name} is {share}", "give a share between 0 and 1, such as 0.01 or 0.9"
                )
            given += [] if share is None else [name]
        if len(given) > 1:
            raise ParameterError(f"both {given[0]} and {given[1]} are given", "give one of them")

    @property
    def goal(self) -> EverydayGoal | None:
        """The goal that the request's thresholds follow from, if it has one."""
        for name, kind in _GOALS.items():
            if (share := getattr(self, name)) is not None:
                return kind(share)
        return None

    @property
    def sets_thresholds(self) -> bool:
        """Whether the request determines the thresholds."""
        return self.threshold is not None or self.goal is not None

    def language(self, vocabulary: Vocabulary) -> str | None:
        """The language in which the vocabulary's labels are named; None for its own names. Raises
        ParameterError if it has no translations that fit."""
        if not self.languages:
            return None
        # A vocabulary without its own translation into English is in English.
        available = vocabulary.languages | {"en"}
        found = best_language(self.languages, available)
        if found is None and self.languages[-1] != ANY_LANGUAGE:
            raise ParameterError(
                f"the vocabulary '{vocabulary.name}' has no names in the language '{self.languages[0][:40]}'",
                f"use one of {', '.join(sorted(available))}, or add `translations` to its labels",
            )
        return found

    def thresholds(
        self,
        vocabulary: Vocabulary,
        found: npt.NDArray[np.float32],
        doubtful: Collection[int] = (),
    ) -> npt.NDArray[np.float64]:
        """The threshold of each label, float64 [C]. `found` [C] are the checkpoint's thresholds or those that
        follow from a goal; `doubtful` are the rows of labels with a warning."""
        # Rounded like probabilities: 0.3 in float32 is slightly more than 0.3.
        thresholds = found.astype(np.float64).round(_DIGITS)
        for index in doubtful:
            thresholds[index] = max(thresholds[index], SURE)
        if self.threshold is not None:
            thresholds[:] = self.threshold
        for index, own in vocabulary.own_thresholds.items():
            thresholds[index] = own
        return thresholds

    def choose(
        self,
        vocabulary: Vocabulary,
        logits: npt.NDArray[np.float32],
        probabilities: npt.NDArray[np.float32],
        thresholds: npt.NDArray[np.float64],
    ) -> Chosen:
        """The labels to show for one photograph, after hierarchy and exclusions; all arrays are [C]."""
        rounded, accepted = verdicts(vocabulary, probabilities, thresholds)
        order = np.lexsort((-logits, -rounded))
        language = self.language(vocabulary)

        def tags(rows: Iterable[int]) -> tuple[Tag, ...]:
            return tuple(
                Tag(
                    **_names(vocabulary.labels[index], language),
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
            best = order[:GUESSES]
            return Chosen((), guesses=tags(best[rounded[best] >= LEAST_GUESS] if self.brief else best))
        if not self.brief or self.sets_thresholds:
            return Chosen(tags(order[accepted[order]]))
        narrowest = vocabulary.hierarchy.narrowest(accepted)
        best = order[narrowest[order]][:DEFAULT_TOP_K]
        return Chosen(tags(best), implied=tags(order[(accepted & ~narrowest)[order]]))


class _Names(TypedDict):
    label: str
    english: str | None


def _names(label: Label, language: str | None) -> _Names:
    is_translated = not label.translations.keys().isdisjoint((language, "en"))
    return {"label": label.called(language), "english": label.english if is_translated else None}


def verdicts(
    vocabulary: Vocabulary, probabilities: npt.NDArray[np.float32], thresholds: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.floating], npt.NDArray[np.bool_]]:
    """(probabilities as reported, which labels are accepted) for one photograph, after hierarchy and
    exclusions; all arrays are [C]."""
    settled = vocabulary.hierarchy.settle(probabilities.astype(np.float64))
    # Rounded before the comparison, so that a client who compares the reported numbers gets the same result.
    rounded = np.round(settled, _DIGITS)
    return rounded, vocabulary.hierarchy.accept(rounded, thresholds)
