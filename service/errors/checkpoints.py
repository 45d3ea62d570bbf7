"""Errors that concern checkpoints."""

from typing import TYPE_CHECKING, Any

from sigrl.service.errors.base import TaggerError

if TYPE_CHECKING:
    from sigrl.service.errors.problem import DriftProblem


class CheckpointError(TaggerError):
    """The checkpoint cannot be loaded."""

    code = "unusable-checkpoint"
    title = "The checkpoint cannot be used"
    status = 500


class UnusableBundleError(TaggerError):
    """A client asked to load a bundle that cannot be loaded."""

    code = "unusable-bundle"
    title = "The bundle cannot be used"
    status = 422


class CheckpointNotFoundError(TaggerError):
    """There is no checkpoint with that id, or no bundle with that name."""

    code = "checkpoint-not-found"
    title = "There is no such checkpoint"
    status = 404


class CheckpointStateError(TaggerError):
    """The checkpoint's current state does not allow the requested operation."""

    code = "checkpoint-state"
    title = "The checkpoint's state does not allow this"
    status = 409


class DriftError(TaggerError):
    """A candidate's answers differ more from those of the active checkpoint than the settings allow."""

    code = "drift-exceeded"
    title = "The checkpoint exceeds the drift limits"
    status = 409

    def __init__(self, detail: str, hint: str, drift: dict[str, Any]) -> None:
        super().__init__(detail, hint)
        self.drift = drift

    def problem(self) -> "DriftProblem":
        """The problem, including the drift report."""
        from sigrl.service.errors.problem import DriftProblem

        return DriftProblem(**super().problem().model_dump(), drift=self.drift)


class ModelError(TaggerError):
    """The model gave no usable answer. This is a server fault."""

    code = "model-failed"
    title = "The model failed"
    status = 500


class DownloadError(TaggerError):
    """A model cannot be downloaded, or is not what the hub says."""

    code = "download-failed"
    title = "The model cannot be downloaded"
    status = 502


class ConversionError(TaggerError):
    """A downloaded model cannot be made into a bundle."""

    code = "conversion-failed"
    title = "The model cannot be converted"
    status = 500
