"""Answers to probes."""

from typing import Literal

from sigrl.service.schemas.base import Schema
from sigrl.service.schemas.tagging import VocabularyInfo


class Health(Schema):
    """The process answers."""

    status: Literal["alive"] = "alive"


class Readiness(Schema):
    """The model answers, too."""

    status: Literal["ready"] = "ready"
    checkpoint: str
    """Id of the checkpoint in use."""
    vocabulary: VocabularyInfo
    """What is looked for when a request names no labels."""
