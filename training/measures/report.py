"""The results of an evaluation as data, for `results.json`, tables and the report page."""

from pathlib import Path

from pydantic import BaseModel


class Means(BaseModel):
    """Means over several labels, in percent."""

    labels: int
    """The number of labels."""
    mean_average_precision: float
    micro_f1: float
    macro_f1: float
    """Both at the default threshold."""


class Ranking(BaseModel):
    """Quality of a photograph's first tags, in percent."""

    precision_at_1: float
    precision_at_3: float
    true_label_in_first_5: float


class Retrieval(BaseModel):
    """Micro-averaged measures when the first k labels of every photograph are taken, in percent."""

    f1: float
    precision: float
    recall: float


class ReliabilityBin(BaseModel):
    """Pairs of photograph and label with similar probabilities; bins are never empty."""

    pairs: int
    probability: float
    """Their mean probability, in 0..1."""
    frequency: float
    """Share of them whose label applies, in 0..1."""


class Calibration(BaseModel):
    """Expected calibration error over 15 bins, in percent."""

    overall: float
    """The error over all pairs; opposite errors of labels cancel."""
    mean_over_labels: float
    bins: list[ReliabilityBin]
    """From low to high probabilities."""


class LabelMeasures(BaseModel):
    """The measures of one label."""

    label: str
    positives: int
    negatives: int
    """Photographs; the others are unknown. Without a negative, average precision says nothing."""
    average_precision: float | None
    """In percent; None without a positive."""
    calibration_error: float | None
    """In percent; None if nothing is known about the label."""


class EvaluatedTag(BaseModel):
    """A tag, and whether it is right."""

    label: str
    probability: float
    holds: bool | None
    """None: unknown."""


class EvaluatedPhotograph(BaseModel):
    """One photograph with its tags."""

    path: Path
    average_precision: float
    """Over its labels, in percent: 100 if all positives rank above all negatives."""
    true_labels: list[str]
    tags: list[EvaluatedTag]
    """The first five, best first."""

    def missed_labels(self) -> list[str]:
        """Positive labels that are not among the tags."""
        return [label for label in self.true_labels if label not in {tag.label for tag in self.tags}]


class Evaluation(BaseModel):
    """Measures on photographs; unknown pairs of photograph and label enter none of them."""

    photographs: int
    threshold: float | None
    """The bundle's default threshold, a probability; None if each label has its own."""
    positive: Means | None
    """Over the labels with at least one positive; None if there are none."""
    frequent: Means | None
    """Over the labels with at least 10 positives."""
    ranking: Ranking
    at_3: Retrieval
    at_5: Retrieval
    calibration: Calibration | None
    """None if nothing is known at all."""
    per_label: list[LabelMeasures]
    best: list[EvaluatedPhotograph]
    worst: list[EvaluatedPhotograph]
    """Best and worst by average precision over the photograph's own labels, extremes first."""

    def ranked_labels(self) -> list[tuple[LabelMeasures, float]]:
        """The labels that have an average precision, with it, best first."""
        ranked = [(one, one.average_precision) for one in self.per_label if one.average_precision is not None]
        return sorted(ranked, key=lambda pair: -pair[1])
