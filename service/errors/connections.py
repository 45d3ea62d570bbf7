"""What a connection may not do, whatever it asks for."""

from sigrl.service.errors.base import TaggerError


class MalformedRequestError(TaggerError):
    """Bytes that are not HTTP/1.1."""

    code = "malformed-request"
    title = "The request is not valid HTTP"
    status = 400


class SlowRequestError(TaggerError):
    """A request whose headers or body did not arrive in time."""

    code = "request-timeout"
    title = "The request took too long to arrive"
    status = 408


class HeadersTooLargeError(TaggerError):
    """More bytes of headers than are read."""

    code = "headers-too-large"
    title = "The request's headers are too large"
    status = 431


class StorageFullError(TaggerError):
    """A file that the service needs cannot be written, because the disk or the quota is full."""

    code = "storage-full"
    title = "There is no room left on the service's disk"
    status = 507
