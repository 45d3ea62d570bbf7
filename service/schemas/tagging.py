"""What tagging answers: the same types in Python, on the command line and over HTTP."""

from typing import Literal

from pydantic import Field

from sigrl.model.vocabulary import Vocabulary
from sigrl.service.schemas.base import Schema

Covers = Literal["photograph", "centre-square"]


class Tag(Schema):
    """One label's verdict on one photograph."""

    label: str
    """Name of the label, as in the vocabulary."""
    probability: float
    """Calibrated probability that the label is true of the photograph, 0 to 1; at least that of every label
    below it in the vocabulary."""
    score: float
    """The head's score before calibration, a logit; comparable only within one checkpoint."""
    threshold: float
    """Probability from which on the label counts as present here."""
    accepted: bool
    """Whether the probability reaches the threshold, or that of a label below it does; and no label that
    excludes this one is more probable."""


class VocabularyInfo(Schema):
    """Which labels were looked for."""

    name: str
    """The vocabulary's name; `labels` where the caller listed labels."""
    version: int | None
    """Number of the change that made it; null for what ships with the package, a file, and listed labels."""
    hash: str = Field(examples=["sha256:09de08a4a0547f0f1f561c346e3e52475fe92e4113938b84978d8b5df823b09f"])
    """Identity of the labels' content: equal hashes, equal labels."""
    size: int
    """Number of labels."""
    calibration: int | None
    """Number of the calibration by examples that probabilities and thresholds are made with; null where there
    is none."""

    @classmethod
    def of(cls, vocabulary: Vocabulary) -> "VocabularyInfo":
        """The reference to a vocabulary."""
        return cls(
            name=vocabulary.name,
            version=vocabulary.version,
            hash=vocabulary.content_hash,
            size=len(vocabulary.labels),
            calibration=vocabulary.calibration,
        )


class LabelWarning(Schema):
    """A label that the checkpoint cannot judge: its probability is held low, and it is not accepted unless
    the caller sets a low threshold."""

    label: str
    """Name of the label, as in the vocabulary."""
    message: str
    """Why, and what to do."""


class Tagging(Schema):
    """The tags of one photograph, best first, and what they were made with."""

    tags: tuple[Tag, ...]
    """In order of falling probability; empty when nothing reaches its threshold."""
    implied: tuple[Tag, ...] = ()
    """Where neither labels nor a vocabulary were named: accepted labels with a narrower one among the
    accepted, which says more."""
    guesses: tuple[Tag, ...] = ()
    """Where no label is accepted and no number of tags was asked for: the three most probable ones."""
    checkpoint: str
    """Id of the checkpoint that answered."""
    vocabulary: VocabularyInfo
    """The labels that were looked for."""
    warnings: tuple[LabelWarning, ...] = ()
    """Labels that the checkpoint cannot judge, of those that the caller gave."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the accepted tags, best first."""
        return tuple(tag.label for tag in self.tags if tag.accepted)


class LabelMap(Tag):
    """One label's verdict on one photograph, and where it comes from."""

    grid: tuple[tuple[float, ...], ...] = Field(examples=[[[0.0, 0.2], [0.4, 1.0]]])
    """Rows from the top, each from the left: 0 for the patch that speaks least for the label, 1 for the one
    that speaks most. It says where and not whether: see `probability` for that."""
    lowest: float
    """The value that 0 stands for: a logit with the bundled checkpoint's kind of head, for which a negative
    value speaks against the label; a cosine with other heads. It compares labels of one checkpoint."""
    highest: float
    """The value that 1 stands for."""


class Explanation(Tagging):
    """Labels with their verdicts on one photograph, best first, and where on it they are seen."""

    tags: tuple[LabelMap, ...]
    """In order of falling probability, whether accepted or not."""
    covers: Covers
    """What the grid lies on: the whole photograph, or the square in its centre as long as its shorter side.
    The checkpoint does not see the rest."""
    height: int
    """Rows of the grid."""
    width: int
    """Columns of the grid."""
