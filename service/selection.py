"""From probabilities to tags: the one place that decides what is shown."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from model.vocabulary import Vocabulary
from service.errors import ParameterError
from service.results import Tag

DEFAULT_TOP_K = 10
_DIGITS = 6


@dataclass(frozen=True)
class Selection:
    """Which labels become tags, best first.

    - Nothing given: every label that reaches its threshold. If the caller named no labels either
      (`brief`), at most the ten best of them, for nobody asked for hundreds.
    - `threshold`: every label that reaches it, without a limit.
    - `false_positive_rate`: every label that reaches the threshold at which at most this share of everyday
      photographs without it gets it, without a limit; the checkpoint must have a background set.
    - `top_k`: that many labels whether they reach their threshold or not; `Tag.accepted` says which do.
    - `top_k` with one of these: labels that reach their threshold, at most `top_k`.

    A label's threshold is its own from the vocabulary, else the request's, else the one that the checkpoint
    has for it. A label with a label below it that reaches its threshold counts as reaching its own; one that
    an exclusive group rules out does not.
    """

    top_k: int | None = None
    threshold: float | None = None
    false_positive_rate: float | None = None
    brief: bool = False

    def __post_init__(self) -> None:
        if self.top_k is not None and self.top_k < 1:
            raise ParameterError(f"top_k is {self.top_k}", "give a whole number from 1 on")
        if self.threshold is not None and not 0.0 <= self.threshold <= 1.0:
            raise ParameterError(f"threshold is {self.threshold}", "give a probability between 0 and 1")
        rate = self.false_positive_rate
        if rate is not None and not 0.0 < rate < 1.0:
            raise ParameterError(f"false_positive_rate is {rate}", "give a share between 0 and 1, as 0.01")
        if rate is not None and self.threshold is not None:
            raise ParameterError("both threshold and false_positive_rate are given", "give one of them")

    @property
    def _sets_thresholds(self) -> bool:
        return self.threshold is not None or self.false_positive_rate is not None

    @property
    def _limit(self) -> int | None:
        if self.top_k is None and not self._sets_thresholds and self.brief:
            return DEFAULT_TOP_K
        return self.top_k

    def thresholds(
        self, vocabulary: Vocabulary, checkpoint_thresholds: npt.NDArray[np.float32]
    ) -> npt.NDArray[np.float64]:
        """The threshold of each label, float64 [C]; `checkpoint_thresholds` are [C]."""
        # Rounded as probabilities are: 0.3 in float32 is a little more than 0.3.
        thresholds = checkpoint_thresholds.astype(np.float64).round(_DIGITS)
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
    ) -> tuple[Tag, ...]:
        """The tags of one photograph, after what the labels say of one another; all arrays are [C]."""
        rounded, accepted = verdicts(vocabulary, probabilities, thresholds)
        order = np.lexsort((-logits, -rounded))
        if self.top_k is None or self._sets_thresholds:
            order = order[accepted[order]]
        return tuple(
            Tag(
                label=vocabulary.names[index],
                probability=float(rounded[index]),
                score=round(float(logits[index]), _DIGITS),
                threshold=float(thresholds[index]),
                accepted=bool(accepted[index]),
            )
            for index in order[: self._limit]
        )


def verdicts(
    vocabulary: Vocabulary, probabilities: npt.NDArray[np.float32], thresholds: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.floating], npt.NDArray[np.bool_]]:
    """(probabilities as they are answered, which labels count as present) of one photograph, after what the
    labels say of one another; all arrays are [C]."""
    settled = vocabulary.hierarchy.settle(probabilities.astype(np.float64))
    # Rounded before it is compared, so that whoever repeats the comparison on the answer agrees with it.
    rounded = np.round(settled, _DIGITS)
    return rounded, vocabulary.hierarchy.accept(rounded, thresholds)
