"""What a shadow checkpoint changes, as it is reported."""

from sigrl.service.schemas.base import Schema


class LabelDrift(Schema):
    """What changes for one label."""

    vocabulary: str
    """Name of its vocabulary."""
    label: str
    """Its name."""
    photographs: int
    """Photographs on which it was looked for."""
    tagged: int
    """Those of them on which it is a tag by either checkpoint."""
    changed_tags: float
    """Share of these on which it is a tag by only one; 0 where there is none."""
    probability_shift: float
    """Mean of the candidate's probability less that of the active one."""


class DriftReport(Schema):
    """A candidate beside the active checkpoint, on the same photographs. Whose tags are right is not known
    here: it is told how much changes."""

    checkpoint: str
    """Id of the candidate."""
    photographs: int
    """Photographs that both have tagged."""
    failures: int
    """Photographs that the active one tagged and the candidate failed on."""
    changed_tags: float
    """Of all tags that either gives, the share that only one gives."""
    probability_shift: float
    """Mean of the candidate's probabilities less those of the active one, over all labels."""
    probability_change: float
    """The same without the signs: how far probabilities move, in whichever direction."""
    latency_ratio: float | None
    """Seconds in the model, the candidate's by the active one's; of photographs that went through it alone.
    null where there is none."""
    calibration_error: float | None
    """How far the candidate's probabilities are from what the examples of calibrated vocabularies show, in
    0..1, mean over these; both are fitted to them. null where there are none, or it is not known yet."""
    calibration_error_active: float | None
    """The same of the active one."""
    exceeded: tuple[str, ...]
    """The limits of the settings that are not kept, each in a sentence; activation needs `force` then."""
    labels: tuple[LabelDrift, ...]
    """The labels whose tags changed most, at most a hundred."""
