"""Reports on how changing a vocabulary would change tags."""

from typing import Literal

from sigrl.service.schemas.base import Schema
from sigrl.service.schemas.tagging import VocabularyInfo


class LabelChange(Schema):
    """How the change affects one label."""

    label: str
    change: Literal["kept", "new", "gone"]
    """Whether the label is in both vocabularies, only in the new one, or only in the old one."""
    tagged_before: int
    """Photographs that get the label with the old vocabulary."""
    tagged_after: int
    """Photographs that get the label with the new vocabulary."""
    changed: int
    """Photographs that get the label with only one of them."""
    threshold_before: float | None
    """The label's threshold in the old vocabulary; null for a new label."""
    threshold_after: float | None
    """The label's threshold in the new vocabulary; null for a label that is gone."""


class DryRun(Schema):
    """A vocabulary compared with its proposed replacement."""

    checkpoint: str
    """Id of the checkpoint that was used."""
    before: VocabularyInfo
    """The current vocabulary."""
    after: VocabularyInfo
    """The proposed vocabulary; it has no version number yet."""
    photographs: int
    """Number of recently tagged photographs that were compared."""
    changed_tags: float
    """Of all tags that either vocabulary gives, the share that only one gives."""
    labels: tuple[LabelChange, ...]
    """Labels that are new or gone, or whose tags or threshold change; most changed tags first."""
