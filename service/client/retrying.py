"""Decides whether a failed request is sent again, and after how long."""

import random

import httpx

from sigrl.service.errors import TaggerError

# The server has received nothing of the request.
_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout)
_CUT = (httpx.NetworkError, httpx.RemoteProtocolError)
_NOT_BEGUN, _PERHAPS_BEGUN = 429, 503

_FIRST_SECONDS, _LONGEST_SECONDS = 0.5, 30.0
# If a server asks for a longer pause, the request is not repeated.
_MOST_SECONDS = 120


class Attempts:
    """Counts the attempts at one request. `repeatable`: it may safely be sent twice."""

    def __init__(self, retries: int, *, repeatable: bool) -> None:
        self._retries, self._repeatable = retries, repeatable
        self._failed = 0

    def progress(self) -> None:
        """Resets the count after part of a response has arrived."""
        self._failed = 0

    def pause(self, error: Exception) -> float | None:
        """Seconds until the next attempt; None if the error is final."""
        self._failed += 1
        if self._failed > self._retries or not self._may_repeat(error):
            return None
        asked = error.retry_after if isinstance(error, TaggerError) else None
        if asked is not None:
            # Every client gets the same Retry-After; jitter keeps them from returning all at once.
            return None if asked > _MOST_SECONDS else asked * random.uniform(1.0, 1.2)
        longest = min(_LONGEST_SECONDS, _FIRST_SECONDS * 2.0 ** (self._failed - 1))
        return longest * random.uniform(0.5, 1.0)

    def _may_repeat(self, error: Exception) -> bool:
        if isinstance(error, TaggerError):
            return error.status == _NOT_BEGUN or (error.status == _PERHAPS_BEGUN and self._repeatable)
        return isinstance(error, _NOT_SENT) or (isinstance(error, _CUT) and self._repeatable)
