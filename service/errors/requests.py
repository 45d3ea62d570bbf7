"""Requests that cannot be answered, or not now."""

from sigrl.service.errors.base import TaggerError


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


class ServerError(TaggerError):
    """A server that the command line speaks to does not do what it is asked."""

    code = "server-failed"
    title = "The server does not do it"
    status = 502


class InternalError(TaggerError):
    """Anything not foreseen; what it was goes to the log and not to the client."""

    code = "internal-error"
    title = "Something failed on our side"
    status = 500
