"""The server under attack as its clients see it: how photographs are sent, and what comes back."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import httpx

PATIENCE_SECONDS = 150.0
"""Far beyond every deadline, so that a request that hangs is seen as such."""


@dataclass(frozen=True)
class Answer:
    """How one request, or one connection, ended."""

    outcome: str
    """Status, or what happened instead."""
    seconds: float


@dataclass(frozen=True)
class Victim:
    """An address, and the form in which it takes photographs."""

    host: str
    port: int
    path: str
    together: bool
    """Whether one request may have several photographs; else each gets a request of its own, all at once."""

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    def send(self, photographs: Sequence[bytes]) -> list[Answer]:
        """Sends photographs, with the statuses of all of them where the answer says them."""
        if not self.together:
            return at_once([lambda each=each: self._send([each]) for each in photographs])
        return [self._send(photographs)]

    def _send(self, photographs: Sequence[bytes]) -> Answer:
        files = [("image", ("photo", each, "application/octet-stream")) for each in photographs]
        return self.post(self.path, files=files)

    def post(self, path: str, **request: Any) -> Answer:
        """One request by httpx's `post`."""
        start = time.monotonic()
        try:
            outcome = str(httpx.post(self.url + path, timeout=PATIENCE_SECONDS, **request).status_code)
        except httpx.TimeoutException:
            outcome = "no answer"
        except httpx.HTTPError:
            outcome = "cut off"
        return Answer(outcome, time.monotonic() - start)


def at_once(sends: Sequence[Callable[[], Answer]]) -> list[Answer]:
    """All in threads of their own."""
    with ThreadPoolExecutor(len(sends)) as threads:
        return list(threads.map(lambda send: send(), sends))
