"""Everything that can go wrong for a reason a user can act on, and its one mapping to RFC 9457 problems."""

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field


class Problem(BaseModel):
    """An RFC 9457 problem, with a hint that says what to do."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    type: str = Field(examples=["urn:sigrl:problem:damaged-image"])
    """One URN per cause: what programs should look at."""
    title: str
    """The cause in words; the same for every occurrence."""
    status: int
    """HTTP status."""
    detail: str
    """What happened this time."""
    hint: str
    """What to do about it."""


class TaggerError(Exception):
    """Base of all errors raised on purpose. `detail` says what happened, `hint` what to do."""

    code: ClassVar[str]
    title: ClassVar[str]
    status: ClassVar[int]

    def __init__(self, detail: str, hint: str, *, retry_after: int | None = None) -> None:
        super().__init__(f"{detail} ({hint})")
        self.detail = detail
        self.hint = hint
        self.retry_after = retry_after
        """Seconds after which the same request may succeed, where that can be told."""

    def problem(self) -> Problem:
        """The error as it goes over the wire."""
        return Problem(
            type=f"urn:sigrl:problem:{self.code}",
            title=self.title,
            status=self.status,
            detail=self.detail,
            hint=self.hint,
        )


class ImageError(TaggerError):
    """One photograph cannot be tagged; others are not affected."""


class ImageNotFoundError(ImageError):
    """A path that leads to no readable file."""

    code = "image-not-found"
    title = "The photograph cannot be read"
    status = 404


class UnsupportedImageError(ImageError):
    """The bytes are no image, or one of a kind that is not decoded."""

    code = "unsupported-image"
    title = "The format is not supported"
    status = 415


class DamagedImageError(ImageError):
    """The bytes begin like a supported image and cannot be decoded to the end."""

    code = "damaged-image"
    title = "The photograph is damaged"
    status = 422


class ImageTooLargeError(ImageError):
    """More bytes or more pixels than allowed."""

    code = "image-too-large"
    title = "The photograph is too large"
    status = 413


class UrlRefusedError(ImageError):
    """An address that the service does not ask, whoever names it."""

    code = "url-refused"
    title = "The photograph's URL is not allowed"
    status = 422


class UrlFailedError(ImageError):
    """An address at which there is no photograph to be had."""

    code = "url-failed"
    title = "The photograph's URL cannot be fetched"
    status = 502


class UrlInputOffError(TaggerError):
    """A URL is sent to a service that fetches none."""

    code = "url-input-off"
    title = "URLs are not fetched here"
    status = 403


class InvalidLabelsError(TaggerError):
    """Labels or a vocabulary that cannot be used."""

    code = "invalid-labels"
    title = "The labels cannot be used"
    status = 422


class VocabularyNotFoundError(TaggerError):
    """No vocabulary of that name, or not in that version."""

    code = "vocabulary-not-found"
    title = "There is no such vocabulary"
    status = 404


class ExamplesError(TaggerError):
    """Examples from which nothing can be learned."""

    code = "invalid-examples"
    title = "The examples cannot be used"
    status = 422


class CalibrationNotFoundError(TaggerError):
    """A vocabulary that was never calibrated, or is not any more."""

    code = "calibration-not-found"
    title = "There is no such calibration"
    status = 404


class NoRecentPhotographsError(TaggerError):
    """Something is to be tried on photographs tagged lately, and none are remembered."""

    code = "no-recent-photographs"
    title = "There are no photographs to try it on"
    status = 409


class FeedbackOffError(TaggerError):
    """Feedback is sent to a service that keeps none."""

    code = "feedback-off"
    title = "Feedback is not kept here"
    status = 403


class FeedbackFullError(TaggerError):
    """There is no room for more feedback."""

    code = "feedback-full"
    title = "There is no room for more feedback"
    status = 507


class FeedbackNotFoundError(TaggerError):
    """No feedback on that photograph."""

    code = "feedback-not-found"
    title = "There is no such feedback"
    status = 404


class ReadOnlyVocabularyError(TaggerError):
    """A change of a vocabulary that ships with the package."""

    code = "read-only-vocabulary"
    title = "The vocabulary cannot be changed"
    status = 403


class PreconditionError(TaggerError):
    """If-Match or If-None-Match does not hold: somebody else was quicker."""

    code = "precondition-failed"
    title = "It has changed meanwhile"
    status = 412


class ParameterError(TaggerError):
    """A parameter that is unknown, given twice, or out of range."""

    code = "invalid-parameter"
    title = "A parameter cannot be used"
    status = 422


class RequestError(TaggerError):
    """A body without an image, or one that cannot be parsed."""

    code = "invalid-request"
    title = "The request cannot be understood"
    status = 422


class ContentTypeError(TaggerError):
    """A body of a kind that is not read."""

    code = "unsupported-content-type"
    title = "The body is of a kind that is not read here"
    status = 415


class RequestTooLargeError(TaggerError):
    """A body over the limit."""

    code = "request-too-large"
    title = "The request is too large"
    status = 413


class OverloadedError(TaggerError):
    """More is waiting already than can be answered in good time."""

    code = "overloaded"
    title = "The service has more to do than it can"
    status = 429


class IdempotencyKeyError(TaggerError):
    """An Idempotency-Key that cannot be used, or was used for something else."""

    code = "invalid-idempotency-key"
    title = "The Idempotency-Key cannot be used"
    status = 422


class DeadlineError(TaggerError):
    """There was no answer in the time that a request may take."""

    code = "deadline-exceeded"
    title = "The answer took too long"
    status = 504


class MissingKeyError(TaggerError):
    """A request without an API key where one is needed."""

    code = "missing-key"
    title = "An API key is needed"
    status = 401


class InvalidKeyError(TaggerError):
    """A key that is none, or no more."""

    code = "invalid-key"
    title = "The API key is not good"
    status = 401


class ScopeError(TaggerError):
    """A key that is good, but not for that."""

    code = "missing-scope"
    title = "The API key is not for that"
    status = 403


class RateError(TaggerError):
    """Somebody asks more often than he may."""

    code = "rate-exceeded"
    title = "There are too many requests"
    status = 429


class KeyNotFoundError(TaggerError):
    """No key of that id."""

    code = "key-not-found"
    title = "There is no such key"
    status = 404


class ForeignOriginError(TaggerError):
    """A page of another site asks a visitor's browser to change something here."""

    code = "foreign-origin"
    title = "The request comes from another site's page"
    status = 403


class NotReadyError(TaggerError):
    """The model has not yet given an answer in this process, gives none any more, or the process ends."""

    code = "not-ready"
    title = "The service is not ready"
    status = 503

    @classmethod
    def leaving(cls) -> "NotReadyError":
        """The process ends."""
        return cls("the service is shutting down", "try again in a few seconds")


class StoreError(TaggerError):
    """The database does not answer, or not as it should."""

    code = "store-unavailable"
    title = "The database cannot be used"
    status = 503


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


class ServerError(TaggerError):
    """A server that the command line speaks to does not do what it is asked."""

    code = "server-failed"
    title = "The server does not do it"
    status = 502


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


class InternalError(TaggerError):
    """Anything not foreseen; what it was goes to the log and not to the client."""

    code = "internal-error"
    title = "Something failed on our side"
    status = 500
