"""Checkpoints that cannot do what is asked."""

from typing import Any

from sigrl.service.errors.base import Problem, TaggerError


class CheckpointError(TaggerError):
    """The checkpoint cannot be loaded."""

    code = "unusable-checkpoint"
    title = "The checkpoint cannot be used"
    status = 500


class UnusableBundleError(TaggerError):
    """A bundle that somebody asks to load, and that cannot be."""

    code = "unusable-bundle"
    title = "The bundle cannot be used"
    status = 422


class CheckpointNotFoundError(TaggerError):
    """No checkpoint of that id, or no bundle of that name."""

    code = "checkpoint-not-found"
    title = "There is no such checkpoint"
    status = 404


class CheckpointStateError(TaggerError):
    """What is asked for does not go with the state in which the checkpoint is."""

    code = "checkpoint-state"
    title = "The checkpoint is not in a state for that"
    status = 409


class DriftProblem(Problem):
    """A problem with the report that tells why."""

    drift: dict[str, Any]
    """As GET /v1/checkpoints/{id}/drift gives it."""


class DriftError(TaggerError):
    """A candidate's answers differ more from those of the active checkpoint than the settings allow."""

    code = "drift-exceeded"
    title = "The checkpoint answers too differently"
    status = 409

    def __init__(self, detail: str, hint: str, drift: dict[str, Any]) -> None:
        super().__init__(detail, hint)
        self.drift = drift

    def problem(self) -> DriftProblem:
        """With the report."""
        return DriftProblem(**super().problem().model_dump(), drift=self.drift)


class ModelError(TaggerError):
    """The model gave no usable answer: a fault on our side."""

    code = "model-failed"
    title = "The model failed"
    status = 500
