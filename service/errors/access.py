"""Errors for requests that the caller is not allowed to make."""

from sigrl.service.errors.base import TaggerError


class UrlInputOffError(TaggerError):
    """The request names a photograph by URL, and this service does not fetch URLs."""

    code = "url-input-off"
    title = "This service does not fetch URLs"
    status = 403


class FeedbackOffError(TaggerError):
    """The request sends feedback, and this service does not store feedback."""

    code = "feedback-off"
    title = "This service does not store feedback"
    status = 403


class MissingKeyError(TaggerError):
    """The request needs an API key and has none."""

    code = "missing-key"
    title = "An API key is needed"
    status = 401


class InvalidKeyError(TaggerError):
    """The API key is malformed, unknown, revoked or expired."""

    code = "invalid-key"
    title = "The API key is not valid"
    status = 401


class ScopeError(TaggerError):
    """The API key is valid, but its scope does not cover this request."""

    code = "missing-scope"
    title = "The API key lacks the required scope"
    status = 403


class RateError(TaggerError):
    """The client exceeded its rate limit."""

    code = "rate-exceeded"
    title = "There are too many requests"
    status = 429


class KeyNotFoundError(TaggerError):
    """There is no key with that id."""

    code = "key-not-found"
    title = "There is no such API key"
    status = 404


class ForeignOriginError(TaggerError):
    """A page of another site made a visitor's browser send a request that could change state here."""

    code = "foreign-origin"
    title = "The request comes from another site's page"
    status = 403
