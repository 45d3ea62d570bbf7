"""Photographs in S3 and other object stores, by fsspec.

`pathlib` makes the path `s3:/bucket/folder` of the address `s3://bucket/folder`; such a path is an object's.
"""

from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any

from sigrl.model.photograph_files import SUFFIXES, may_be_looked_at
from sigrl.service.bulk.ledger import Stamp
from sigrl.service.errors import ImageNotFoundError, ParameterError, TaggerError
from sigrl.service.images.files import ImageLimits, check_bytes
from sigrl.service.terminal import printable, with_address

CONNECTIONS = 16
_CHECK = (
    "check the address and the credentials: S3 takes them from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
    "AWS_PROFILE or the machine's role; AWS_ENDPOINT_URL names another store than Amazon's"
)
_ALLOW = "use credentials that may list the folder and read it: for S3, s3:ListBucket and s3:GetObject"


class ObjectStores:
    """Lists and reads photographs by their addresses. `download` can be called in threads."""

    def __init__(self, limits: ImageLimits) -> None:
        self._limits = limits
        self._stores: dict[str, Any] = {}
        self._stamps: dict[Path, Stamp] = {}

    def find(self, addresses: Iterable[Path]) -> Iterator[Path]:
        """Yields each object as given, and the photographs below each folder, by their suffix. A folder is
        listed at a time. Raises ParameterError if an address does not exist or cannot be listed."""
        for address in addresses:
            found = False
            try:
                for path in self._below(address):
                    found = True
                    yield path
            except TaggerError:
                raise
            except Exception as error:
                raise ParameterError(*_reason(f"'{printable(address)}'", error)) from error
            if not found:
                hint = f"the suffixes of photographs are {' '.join(sorted(SUFFIXES))}"
                raise ParameterError(f"there is no photograph in '{printable(address)}'", hint)

    def stamp(self, path: Path) -> Stamp:
        """The size and the time of the last change of an object, which `find` has mostly listed just now."""
        if path not in self._stamps:
            self._stamped(path, self._store(path).info(with_address(path)))
        return self._stamps.pop(path)

    def download(self, path: Path) -> bytes:
        """Reads an object. Raises ImageNotFoundError, ImageTooLargeError."""
        try:
            with self._store(path).open(with_address(path), "rb", cache_type="none") as file:
                check_bytes(file.size, self._limits)
                data: bytes = file.read()
        except TaggerError:
            raise
        except Exception as error:
            raise ImageNotFoundError(*_reason("the object", error)) from error
        return data

    def _below(self, address: Path) -> Iterator[Path]:
        store = self._store(address)
        info = store.info(with_address(address))
        if info["type"] == "file":
            yield self._stamped(address, info)
            return
        for _, folders, files in store.walk(with_address(address), detail=True, on_error="raise"):
            for name in [name for name in folders if not may_be_looked_at(name)]:
                del folders[name]
            for name in sorted(files):
                if may_be_looked_at(name) and PurePosixPath(name).suffix.lower() in SUFFIXES:
                    path = Path(store.unstrip_protocol(files[name]["name"]))
                    yield self._stamped(path, files[name])

    def _stamped(self, path: Path, info: dict[str, Any]) -> Path:
        changed = info.get("LastModified", info.get("mtime", info.get("created")))
        moment = changed.timestamp() if isinstance(changed, datetime) else changed
        self._stamps[path] = info.get("size"), None if moment is None else int(moment * 1e9)
        return path

    def _store(self, address: Path) -> Any:
        protocol = address.parts[0].removesuffix(":")
        if protocol not in self._stores:
            self._stores[protocol] = _open(protocol)
        return self._stores[protocol]


def _reason(what: str, error: Exception) -> tuple[str, str]:
    """Why an object or a folder cannot be read, and what to do. Each store has exceptions of its own."""
    if isinstance(error, FileNotFoundError):
        return f"{what} does not exist", _CHECK
    if isinstance(error, PermissionError):
        return f"access to {what} is denied", _ALLOW
    return f"{what} cannot be read: {error}", _CHECK


def _open(protocol: str) -> Any:
    try:
        import fsspec

        # A cache of listings would grow with the bucket.
        return fsspec.filesystem(protocol, use_listings_cache=False)
    except ImportError as error:
        hint = "pip install 'sigrl-tagger[objects]', and for other stores than S3 the package that is named"
        raise ParameterError(f"addresses with {protocol}:// cannot be read: {error}", hint) from error
    except ValueError as error:
        hint = "use s3://bucket/folder, or another store that fsspec knows"
        raise ParameterError(f"addresses with {protocol}:// are not known", hint) from error
