"""Errors for requests that cannot be answered, or cannot be answered now."""

from sigrl.service.errors.base import TaggerError


class PreconditionError(TaggerError):
    """The If-Match or If-None-Match condition failed, because the resource changed in the meantime."""

    code = "precondition-failed"
    title = "The precondition is not met"
    status = 412


class ParameterError(TaggerError):
    """A parameter is unknown, given twice or out of range."""

    code = "invalid-parameter"
    title = "A parameter is not valid"
    status = 422


class RequestError(TaggerError):
    """The body has no image or cannot be parsed."""

    code = "invalid-request"
    title = "The request is not valid"
    status = 422


class ContentTypeError(TaggerError):
    """The body has a content type that the route does not read."""

    code = "unsupported-content-type"
    title = "The content type is not supported"
    status = 415


class RequestTooLargeError(TaggerError):
    """The body is larger than the limit."""

    code = "request-too-large"
    title = "The request is too large"
    status = 413


class OverloadedError(TaggerError):
    """More requests are already queued than the service can answer in time."""

    code = "overloaded"
    title = "The service is overloaded"
    status = 429


class IdempotencyKeyError(TaggerError):
    """The Idempotency-Key is unusable, or was used for a different request."""

    code = "invalid-idempotency-key"
    title = "The Idempotency-Key cannot be used"
    status = 422


class DeadlineError(TaggerError):
    """The request was not answered before its deadline."""

    code = "deadline-exceeded"
    title = "The request was not answered in time"
    status = 504


class NotReadyError(TaggerError):
    """The model has not answered yet or has stopped answering, or the process is shutting down."""

    code = "not-ready"
    title = "The service is not ready"
    status = 503

    @classmethod
    def leaving(cls) -> "NotReadyError":
        """The error for a process that is shutting down."""
        return cls("the service is shutting down", "try again in a few seconds")


class StoreError(TaggerError):
    """The database does not answer or cannot be used."""

    code = "store-unavailable"
    title = "The database cannot be used"
    status = 503


class ServerError(TaggerError):
    """The server that the command line talks to did not carry out the request."""

    code = "server-failed"
    title = "The server refused the request"
    status = 502


class UnreachableError(ServerError):
    """No server answers at the address, or it closed the connection."""

    code = "server-unreachable"
    title = "The server does not answer"


class InternalError(TaggerError):
    """An unexpected failure. Its cause is written to the log and not sent to the client."""

    code = "internal-error"
    title = "The service has failed"
    status = 500
