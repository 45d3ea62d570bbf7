"""What was measured on photographs, as data: goes into `results.json`, tables and the report page."""

from pathlib import Path

from pydantic import BaseModel


class Means(BaseModel):
    """Over several labels, in percent."""

    labels: int
    """How many those are."""
    mean_average_precision: float
    micro_f1: float
    macro_f1: float
    """Both at the default threshold."""


class Ranking(BaseModel):
    """How good the first tags of a photograph are, in percent."""

    precision_at_1: float
    precision_at_3: float
    true_label_in_first_5: float


class Retrieval(BaseModel):
    """When the first k labels of every photograph are taken, micro, in percent."""

    f1: float
    precision: float
    recall: float


class ReliabilityBin(BaseModel):
    """Pairs of photograph and label whose probabilities are near one another; none is left out if empty."""

    pairs: int
    probability: float
    """Their mean, in 0..1."""
    frequency: float
    """Share of them whose label holds, in 0..1."""


class Calibration(BaseModel):
    """Expected calibration error over 15 bins, in percent."""

    overall: float
    """Of all pairs; errors of labels in opposite directions cancel."""
    mean_over_labels: float
    bins: list[ReliabilityBin]
    """From low to high probabilities."""


class LabelMeasures(BaseModel):
    """One label."""

    label: str
    positives: int
    negatives: int
    """Photographs; the others are unknown. Without a negative, average precision says nothing."""
    average_precision: float | None
    """In percent; None where there is no positive."""
    calibration_error: float | None
    """In percent; None where nothing is known of the label."""


class JudgedTag(BaseModel):
    """A tag, and whether it is right."""

    label: str
    probability: float
    holds: bool | None
    """None: nobody said."""


class JudgedPhotograph(BaseModel):
    """What the model says of one photograph."""

    path: Path
    average_precision: float
    """Of its labels, in percent: 100 where all that hold come before all that do not."""
    true_labels: list[str]
    tags: list[JudgedTag]
    """The first five, the best first."""

    def missed_labels(self) -> list[str]:
        """Labels that hold and are not among the tags."""
        return [label for label in self.true_labels if label not in {tag.label for tag in self.tags}]


class Evaluation(BaseModel):
    """Measures on photographs; pairs of photograph and label of which nobody said whether the label holds
    enter none of them."""

    photographs: int
    threshold: float | None
    """The bundle's default one, a probability; None where each label has its own."""
    positive: Means | None
    """Over the labels with at least one positive; None where there are none."""
    frequent: Means | None
    """Over the labels with at least 10."""
    ranking: Ranking
    at_3: Retrieval
    at_5: Retrieval
    calibration: Calibration | None
    """None where nothing is known at all."""
    per_label: list[LabelMeasures]
    best: list[JudgedPhotograph]
    worst: list[JudgedPhotograph]
    """By average precision of the photograph's own labels, the extreme ones first."""

    def ranked_labels(self) -> list[tuple[LabelMeasures, float]]:
        """The labels that have an average precision, with it, the best first."""
        ranked = [(one, one.average_precision) for one in self.per_label if one.average_precision is not None]
        return sorted(ranked, key=lambda pair: -pair[1])
