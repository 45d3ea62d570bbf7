"""Downloads files from a hub: resumes an interrupted download, and checks every file against the hash that
the hub states.

huggingface_hub resumes too, but compares only sizes, so a damaged or exchanged file would pass.
"""

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import httpx

from sigrl.service.errors import DownloadError

Progress = Callable[[int], None]
"""Called with the number of bytes of the file that have arrived."""

ATTEMPTS = 6
"""Attempts in a row without a single new byte before a download is given up."""
PAUSE_SECONDS = 1.0
"""Pause before the second attempt; it doubles with each further one."""
_TIMEOUT = httpx.Timeout(30.0, connect=10.0)
_SHA256_DIGITS, _GIT_DIGITS = 64, 40


@dataclass(frozen=True)
class RemoteFile:
    """A file on the hub."""

    url: str
    size: int
    """In bytes."""
    digest: str
    """64 hex digits of a SHA-256, or for a small file the 40 digits of git's SHA-1 of a blob."""


class Hub:
    """A hub in the layout of Hugging Face's."""

    def __init__(self, address: str) -> None:
        """`address` is the URL above the repositories. Raises DownloadError if it is no URL."""
        self.address = address.rstrip("/")
        try:
            self._client = httpx.Client(follow_redirects=True, timeout=_TIMEOUT)
            httpx.URL(self.address)
        except (httpx.InvalidURL, ValueError) as error:
            raise DownloadError(
                f"the hub's address {address!a} is not a URL", "correct HF_ENDPOINT"
            ) from error

    def __enter__(self) -> "Hub":
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def url(self, repository: str, name: str) -> str:
        """Where the hub keeps a file of a repository."""
        return f"{self.address}/{repository}/resolve/main/{name}"

    def answers(self) -> bool:
        """Whether the hub can be reached; the status of its answer does not matter."""
        try:
            self._client.head(self.address)
        except httpx.HTTPError:
            return False
        return True

    def find(self, repository: str, *names: str) -> RemoteFile:
        """The first of these files that the repository has. Raises DownloadError if it has none of them, if
        the hub cannot be reached, or if it does not state size and hash."""
        for name in names:
            url = self.url(repository, name)
            try:
                response = self._client.head(url, headers={"Accept-Encoding": "identity"})
            except httpx.HTTPError as error:
                raise _failed(url, _reason(error)) from error
            if response.status_code == httpx.codes.NOT_FOUND:
                continue
            if not response.is_success:
                raise _failed(url, f"status {response.status_code}")
            return _described(url, response)
        raise DownloadError(
            f"{self.address}/{repository} has no {' or '.join(names)}",
            "check HF_ENDPOINT",
        )

    def download(self, remote: RemoteFile, destination: Path, progress: Progress) -> None:
        """Downloads a file unless `destination` already has its content. What has arrived before a failure is
        kept beside it, and the next call continues from there. Raises DownloadError, and OSError if the file
        cannot be written."""
        if destination.is_file() and digest(destination, remote.digest) == remote.digest:
            progress(remote.size)
            return
        part = destination.with_name(destination.name + ".part")
        failures = 0
        while (arrived := _size(part)) < remote.size:
            progress(arrived)
            try:
                self._fetch(remote, part, arrived, progress)
                reason = "the connection ended early"
            except httpx.HTTPError as error:
                reason = _reason(error)
            # The count starts anew whenever something has arrived.
            failures = failures + 1 if _size(part) <= arrived else 0
            if failures >= ATTEMPTS:
                raise _failed(remote.url, reason)
            if _size(part) < remote.size:
                time.sleep(PAUSE_SECONDS * 2 ** min(failures, 5))
        found = digest(part, remote.digest)
        if found != remote.digest:
            part.unlink()
            raise DownloadError(
                f"{remote.url} arrived with the hash {found[:12]}…, but the hub states {remote.digest[:12]}…",
                "download it again; if that does not help, something between the hub and this machine "
                "changes the file: do not use it",
            )
        part.replace(destination)
        progress(remote.size)

    def _fetch(self, remote: RemoteFile, part: Path, arrived: int, progress: Progress) -> None:
        headers = {"Range": f"bytes={arrived}-", "Accept-Encoding": "identity"}
        with self._client.stream("GET", remote.url, headers=headers) as response:
            response.raise_for_status()
            # A server that ignores the range sends the whole file.
            goes_on = response.status_code == httpx.codes.PARTIAL_CONTENT
            with part.open("ab" if goes_on else "wb") as file:
                for chunk in response.iter_raw():
                    file.write(chunk)
                    progress(file.tell())


def digest(file: Path, like: str) -> str:
    """The file's hash, of the kind of `like`."""
    if len(like) == _SHA256_DIGITS:
        with file.open("rb") as content:
            return hashlib.file_digest(content, "sha256").hexdigest()
    text = file.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(text) + text, usedforsecurity=False).hexdigest()


def _described(url: str, response: httpx.Response) -> RemoteFile:
    """The hub states a large file's SHA-256 and size in the response that redirects to its storage."""
    headers = httpx.Headers()
    for each in (*response.history, response):
        for name in ("x-linked-etag", "x-linked-size", "etag", "content-length"):
            if name in each.headers and (name.startswith("x-") or each is response):
                headers.setdefault(name, each.headers[name])
    stated = headers.get("x-linked-etag", headers.get("etag", "")).removeprefix("W/").strip('"').lower()
    size = headers.get("x-linked-size", headers.get("content-length", ""))
    is_hash = len(stated) in (_SHA256_DIGITS, _GIT_DIGITS) and set(stated) <= set("0123456789abcdef")
    if not is_hash or not size.isdecimal():
        raise DownloadError(
            f"the hub states no size and hash for {url}, so it could not be checked",
            "name another mirror in HF_ENDPOINT",
        )
    return RemoteFile(url, int(size), stated)


def _size(file: Path) -> int:
    return file.stat().st_size if file.is_file() else 0


def _reason(error: httpx.HTTPError) -> str:
    return str(error).partition("\n")[0] or type(error).__name__


def _failed(url: str, reason: str) -> DownloadError:
    return DownloadError(
        f"{url} cannot be downloaded ({reason})",
        "run the same command again: it resumes the download",
    )
