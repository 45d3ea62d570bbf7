"""A server under attack as its clients see it: how photographs are sent, and what comes back."""

import base64
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import httpx

PATIENCE_SECONDS = 75.0
"""Beyond every deadline of ours, so that a request that hangs is seen as such."""


@dataclass(frozen=True)
class Answer:
    """How one request, or one connection, ended."""

    outcome: str
    """Status, or what happened instead."""
    seconds: float


@dataclass(frozen=True)
class Form:
    """How a server takes photographs."""

    content_type: str
    """Of a request with one photograph, as a header's value."""
    opening: bytes
    """What stands before a photograph in its body."""
    request: Callable[[Sequence[bytes]], Mapping[str, Any]]
    """The arguments of httpx's `post` that send photographs."""
    together: bool
    """Whether one request may have several photographs; else each gets a request of its own, all at once."""


def _as_files(photographs: Sequence[bytes]) -> Mapping[str, Any]:
    return {"files": [("image", ("photo", each, "application/octet-stream")) for each in photographs]}


def _as_data_uris(photographs: Sequence[bytes]) -> Mapping[str, Any]:
    uris = [f"data:image/jpeg;base64,{base64.b64encode(each).decode()}" for each in photographs]
    return {"json": {"model": "clip", "modality": "image", "encoding_format": "base64", "input": uris}}


OURS = Form("image/jpeg", b"", _as_files, together=True)
UPLOADS = Form(
    "multipart/form-data; boundary=B",
    b'--B\r\ncontent-disposition: form-data; name="image"; filename="a"\r\n\r\n',
    _as_files,
    together=False,
)
EMBEDDINGS = Form("application/json", b'{"input":["data:image/jpeg;base64,', _as_data_uris, together=True)


@dataclass(frozen=True)
class Victim:
    """An address, and the form in which it takes photographs."""

    host: str
    port: int
    path: str
    form: Form

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    @property
    def head(self) -> bytes:
        """The request line and first headers of a photograph's request, for what follows by hand."""
        return (
            f"POST {self.path} HTTP/1.1\r\nhost: {self.host}\r\ncontent-type: {self.form.content_type}\r\n"
        ).encode()

    def send(self, photographs: Sequence[bytes]) -> list[Answer]:
        """Sends photographs, with the statuses of all of them where the answer says them."""
        if self.form.together:
            return [self._send(photographs)]
        return at_once([lambda each=each: self._send([each]) for each in photographs])

    def _send(self, photographs: Sequence[bytes]) -> Answer:
        return self.post(self.path, **self.form.request(photographs))

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
