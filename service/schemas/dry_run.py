"""What a change of a vocabulary would change, as it is reported."""

from typing import Literal

from sigrl.service.schemas.base import Schema
from sigrl.service.schemas.tagging import VocabularyInfo


class LabelChange(Schema):
    """What becomes of one label."""

    label: str
    change: Literal["kept", "new", "gone"]
    """Whether it is in both, or only in the new or the old vocabulary."""
    tagged_before: int
    """Photographs on which it is present by the old vocabulary."""
    tagged_after: int
    """The same by the new one."""
    changed: int
    """Photographs on which it is present by only one of them."""
    threshold_before: float | None
    """Probability from which on it counts as present; null for a new label."""
    threshold_after: float | None
    """The same by the new vocabulary; null for one that is gone."""


class DryRun(Schema):
    """A vocabulary beside what it would become."""

    checkpoint: str
    """Id of the checkpoint that looked."""
    before: VocabularyInfo
    """The vocabulary as it is."""
    after: VocabularyInfo
    """As it would be, but for its number."""
    photographs: int
    """How many photographs tagged lately it rests on."""
    changed_tags: float
    """Of all tags that either gives, the share that only one gives."""
    labels: tuple[LabelChange, ...]
    """Labels that are new, gone, or change a tag or their threshold; those with most changed tags first."""
