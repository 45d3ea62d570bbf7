"""Errors that concern the connection, whatever the request asks for."""

from sigrl.service.errors.base import TaggerError


class MalformedRequestError(TaggerError):
    """The client sent bytes that are not HTTP/1.1."""

    code = "malformed-request"
    title = "The request is not valid HTTP"
    status = 400


class SlowRequestError(TaggerError):
    """The request's headers or body did not arrive in time."""

    code = "request-timeout"
    title = "The request took too long to arrive"
    status = 408


class HeadersTooLargeError(TaggerError):
    """The request's headers are larger than the limit."""

    code = "headers-too-large"
    title = "The request's headers are too large"
    status = 431


class StorageFullError(TaggerError):
    """The service cannot write a file that it needs, because the disk or the quota is full."""

    code = "storage-full"
    title = "The service's disk is full"
    status = 507
