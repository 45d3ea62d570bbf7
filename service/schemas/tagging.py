"""Results of tagging: the same types in Python, on the command line and over HTTP."""

from typing import Literal

from pydantic import Field

from sigrl.model.engine import Engine
from sigrl.model.vocabulary import Vocabulary
from sigrl.service.schemas.base import Schema

Covers = Literal["photograph", "centre-square"]


class Tag(Schema):
    """The result of one label for one photograph."""

    label: str
    """Name of the label: as in the vocabulary, or in the language that the request asks for."""
    english: str | None = Field(default=None, exclude_if=lambda name: name is None)
    """The English name, if `label` is in another language: of a translated vocabulary the vocabulary's own
    name, of a label in the caller's own words what it was understood as. Left out otherwise."""
    probability: float
    """Calibrated probability, 0 to 1, that the label applies to the photograph; at least that of every
    narrower label in the vocabulary."""
    score: float
    """The head's logit before calibration; comparable only within one checkpoint."""
    threshold: float
    """Least probability at which the label counts as present."""
    accepted: bool
    """Whether the label, or one narrower than it, reaches its threshold, and no label that excludes it is
    more probable."""


class VocabularyInfo(Schema):
    """The vocabulary that photographs were tagged with."""

    name: str
    """The vocabulary's name; `labels` if the caller listed labels."""
    version: int | None
    """Version number; null for built-in vocabularies, files and listed labels."""
    hash: str = Field(examples=["sha256:09de08a4a0547f0f1f561c346e3e52475fe92e4113938b84978d8b5df823b09f"])
    """Hash of the labels: equal hashes mean equal labels, apart from translations that only name tags in
    answers."""
    size: int
    """Number of labels."""
    calibration: int | None
    """Number of the calibration by examples that probabilities and thresholds are based on; null if there is
    none."""

    @classmethod
    def of(cls, vocabulary: Vocabulary) -> "VocabularyInfo":
        """Describes a vocabulary."""
        return cls(
            name=vocabulary.name,
            version=vocabulary.version,
            hash=vocabulary.content_hash,
            size=len(vocabulary.labels),
            calibration=vocabulary.calibration,
        )


class VocabularyUsed(VocabularyInfo):
    """The vocabulary of an answer, and what its probabilities are worth."""

    calibrated: bool = True
    """Whether its probabilities are calibrated, on the checkpoint's background set or by examples. If not,
    they are the model's own, those of an imported model shifted by how common each word is, and only their
    order means something: calibrate the vocabulary, or the checkpoint by `sigrl-train calibrate`."""

    @classmethod
    def by(cls, engine: Engine, vocabulary: Vocabulary) -> "VocabularyUsed":
        """Describes a vocabulary that an engine answers with."""
        calibrated = engine.calibrated or vocabulary.calibration is not None
        return cls(**VocabularyInfo.of(vocabulary).model_dump(), calibrated=calibrated)


class LabelWarning(Schema):
    """A label that the checkpoint cannot judge. Its probability is capped, and it is not accepted unless the
    caller sets a low threshold."""

    label: str
    """Name of the label, as in the vocabulary."""
    message: str
    """The reason, and what to do."""


class Tagging(Schema):
    """The tags of one photograph, and the checkpoint and vocabulary that they come from."""

    tags: tuple[Tag, ...]
    """In order of decreasing probability; empty if no label reaches its threshold."""
    implied: tuple[Tag, ...] = ()
    """If the request names neither labels nor a vocabulary: accepted labels that a narrower accepted label
    implies."""
    guesses: tuple[Tag, ...] = ()
    """The three most probable labels if none is accepted and the request sets no number of tags."""
    checkpoint: str
    """Id of the checkpoint that was used."""
    vocabulary: VocabularyUsed
    """The vocabulary that was used."""
    warnings: tuple[LabelWarning, ...] = ()
    """Those of the caller's labels that the checkpoint cannot judge."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the accepted tags, most probable first."""
        return tuple(tag.label for tag in self.tags if tag.accepted)


class LabelMap(Tag):
    """The result of one label for one photograph, and where in the photograph it is seen."""

    grid: tuple[tuple[float, ...], ...] = Field(examples=[[[0.0, 0.2], [0.4, 1.0]]])
    """Rows from the top, each from the left: 0 for the patch with the least evidence for the label, 1 for the
    one with the most. It shows where, not whether: for that, see `probability`."""
    lowest: float
    """The value that 0 stands for. With the bundled checkpoint's kind of head it is the logit of the place
    alone; with heads that match whole photographs, how far the score falls without the place; with other
    heads, the cosine of the patch. A negative value speaks against the label."""
    highest: float
    """The value that 1 stands for."""


class Explanation(Tagging):
    """The results of labels for one photograph, and where in it they are seen."""

    tags: tuple[LabelMap, ...]
    """In order of decreasing probability, whether accepted or not."""
    covers: Covers
    """What the grid covers: the whole photograph, or a square at its centre, if the checkpoint does not see
    the rest."""
    covered_side: float = 1.0
    """The side of that square, as a share of the photograph's shorter side. Below 1 for a checkpoint that
    crops more than it must, as MKT and SigRL do."""
    height: int
    """Number of rows of the grid."""
    width: int
    """Number of columns of the grid."""

    @property
    def square(self) -> float | None:
        """`covered_side`, or None if the grid covers the whole photograph."""
        return self.covered_side if self.covers == "centre-square" else None
