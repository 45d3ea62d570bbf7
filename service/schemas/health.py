"""Responses to probes."""

from typing import Literal

from sigrl.service.schemas.base import Schema
from sigrl.service.schemas.tagging import VocabularyInfo


class Health(Schema):
    """The process is alive."""

    status: Literal["alive"] = "alive"


class Readiness(Schema):
    """The model responds too."""

    status: Literal["ready"] = "ready"
    checkpoint: str
    """Id of the active checkpoint."""
    vocabulary: VocabularyInfo
    """The vocabulary for requests that name no labels."""
