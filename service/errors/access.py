"""Somebody may not do what he asks for."""

from sigrl.service.errors.base import TaggerError


class UrlInputOffError(TaggerError):
    """A URL is sent to a service that fetches none."""

    code = "url-input-off"
    title = "URLs are not fetched here"
    status = 403


class FeedbackOffError(TaggerError):
    """Feedback is sent to a service that keeps none."""

    code = "feedback-off"
    title = "Feedback is not kept here"
    status = 403


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
