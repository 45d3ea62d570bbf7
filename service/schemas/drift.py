"""Reports on how a shadow checkpoint's tags differ from the active one's."""

from sigrl.service.schemas.base import Schema


class LabelDrift(Schema):
    """How a candidate changes one label."""

    vocabulary: str
    """Name of its vocabulary."""
    label: str
    """Name of the label."""
    photographs: int
    """Photographs for which the label was scored."""
    tagged: int
    """How many of them either checkpoint tagged with it."""
    changed_tags: float
    """Share of the tagged ones that only one checkpoint tagged with it; 0 if there are none."""
    probability_shift: float
    """Mean of the candidate's probability minus the active checkpoint's."""


class DriftReport(Schema):
    """A candidate compared with the active checkpoint on the same photographs. The report says how much
    changes, not which tags are right."""

    checkpoint: str
    """Id of the candidate."""
    photographs: int
    """Photographs that both checkpoints tagged."""
    failures: int
    """Photographs that the active checkpoint tagged but the candidate failed on."""
    changed_tags: float
    """Of all tags that either checkpoint gives, the share that only one gives."""
    probability_shift: float
    """Mean of the candidate's probabilities minus the active checkpoint's, over all labels."""
    probability_change: float
    """Mean absolute difference of the probabilities, over all labels."""
    latency_ratio: float | None
    """The candidate's time in the model divided by the active checkpoint's, over photographs that were in a
    batch of one; null if there are none."""
    calibration_error: float | None
    """Calibration error (0..1) of the candidate's probabilities on the examples of calibrated vocabularies,
    to which both checkpoints are fitted; the mean over vocabularies. null if there are none or it is not yet
    known."""
    calibration_error_active: float | None
    """The same for the active checkpoint."""
    exceeded: tuple[str, ...]
    """The configured limits that are exceeded, each as a sentence; activation then needs `force`."""
    labels: tuple[LabelDrift, ...]
    """The labels whose tags change most, at most a hundred."""
