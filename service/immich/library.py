"""A client of Immich's API, as its OpenAPI document of version 2.4 describes it."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import httpx
from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.alias_generators import to_camel

from sigrl.service.errors import ImageNotFoundError, ParameterError, ServerError, UnreachableError

READING = ("user.read", "asset.read", "asset.view", "tag.read")
"""The permissions that a key needs for reading photographs and tags."""
WRITING = ("tag.create", "tag.asset")
"""The permissions that it needs besides for tagging."""
PARENT = "SigRL"
"""All our tags are below this one."""

_TIMEOUT = httpx.Timeout(60.0, connect=10.0)
_AT_ONCE = 1000
"""Immich's largest page of a search; also how many photographs one request tags."""
_SEARCHED = ("timeline", "archive")
_GO_ON_HINT = "check the address and the server; the same command then continues"

_Parsed = TypeVar("_Parsed")


class _Answer(BaseModel, alias_generator=to_camel):
    pass


class _Key(_Answer):
    permissions: list[str]


class _User(_Answer):
    id: str


class _Asset(_Answer):
    id: str
    owner_id: str
    original_file_name: str


class _Page(_Answer):
    items: list[_Asset]
    next_page: str | None


class _Found(_Answer):
    assets: _Page


class _Tag(_Answer):
    id: str
    value: str


class _Changed(_Answer):
    id: str
    success: bool
    error: str | None = None


class Library:
    """The photographs and tags of the user whose API key is given. Use it as a context manager. All methods
    raise ServerError if Immich refuses, and UnreachableError if it does not answer."""

    def __init__(self, url: str, key: str) -> None:
        """`url` is Immich's address, with or without `/api`. Raises ParameterError if it is not a URL, or if
        the key cannot be sent."""
        self.url = url.rstrip("/").removesuffix("/api")
        if not self.url.startswith(("http://", "https://")):
            raise ParameterError(
                f"'{url}' is not the address of a server", "give it like http://192.168.1.5:2283"
            )
        try:
            self._client = httpx.Client(
                base_url=f"{self.url}/api", headers={"x-api-key": key}, timeout=_TIMEOUT
            )
        except (httpx.InvalidURL, UnicodeEncodeError) as error:
            raise ParameterError(f"the address or the key cannot be used: {error}", "check both") from error

    def __enter__(self) -> "Library":
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def user(self, permissions: Iterable[str]) -> str:
        """The id of the user. Raises ServerError if the key lacks one of these permissions."""
        granted = self._parse(_Key, self._ask("GET", "/api-keys/me")).permissions
        missing = [each for each in permissions if each not in granted and "all" not in granted]
        if missing:
            raise ServerError(
                f"the API key has no permission for {', '.join(missing)}",
                "add it to the key in Immich, under Account Settings > API Keys",
            )
        return self._parse(_User, self._ask("GET", "/users/me")).id

    def photographs(self, user: str) -> Iterator[Path]:
        """The user's photographs, without those of partners and without trash, as `id/file name`."""
        for asset in self._search({"type": "IMAGE"}):
            if asset.owner_id == user:
                yield Path(asset.id, Path(asset.original_file_name).name)

    def preview(self, path: Path) -> bytes:
        """The file that Immich shows of one of `photographs`, about 1440 pixels wide. Raises
        ImageNotFoundError if there is none."""
        response = self._send("GET", f"/assets/{path.parts[0]}/thumbnail", params={"size": "preview"})
        if response.status_code in (httpx.codes.NOT_FOUND, httpx.codes.BAD_REQUEST):
            raise ImageNotFoundError(
                "Immich has no preview of it",
                "have Immich make thumbnails (Administration > Jobs); the same command then continues",
            )
        self._check(response)
        return response.content

    def tags(self) -> dict[str, str]:
        """Path of each of our tags, without the parent -> id."""
        found = self._parse(list[_Tag], self._ask("GET", "/tags"))
        start = f"{PARENT}/"
        return {tag.value.removeprefix(start): tag.id for tag in found if tag.value.startswith(start)}

    def create(self, paths: Iterable[str]) -> dict[str, str]:
        """As `tags`, for these paths, which are created as needed."""
        wanted = [f"{PARENT}/{path}" for path in paths]
        if not wanted:
            return {}
        made = self._parse(list[_Tag], self._ask("PUT", "/tags", json={"tags": wanted}))
        return {tag.value.removeprefix(f"{PARENT}/"): tag.id for tag in made}

    def tagged(self, tag: str) -> set[str]:
        """The ids of the photographs with this tag or with one below it."""
        return {asset.id for asset in self._search({"tagIds": [tag]})}

    def tag(self, tag: str, assets: list[str]) -> set[str]:
        """Gives the photographs a tag; returns the ids of those that Immich refuses."""
        return self._change("PUT", tag, assets, harmless="duplicate")

    def untag(self, tag: str, assets: list[str]) -> set[str]:
        """Takes a tag from the photographs; returns the ids of those that Immich refuses."""
        return self._change("DELETE", tag, assets, harmless="not_found")

    def _change(self, method: str, tag: str, assets: list[str], harmless: str) -> set[str]:
        refused = set()
        for start in range(0, len(assets), _AT_ONCE):
            body = {"ids": assets[start : start + _AT_ONCE]}
            changed = self._parse(list[_Changed], self._ask(method, f"/tags/{tag}/assets", json=body))
            refused |= {each.id for each in changed if not each.success and each.error != harmless}
        return refused

    def _search(self, wanted: dict[str, Any]) -> Iterator[_Asset]:
        for visibility in _SEARCHED:
            # The oldest first, so that a photograph that is added meanwhile does not shift the pages.
            body = {**wanted, "visibility": visibility, "order": "asc", "size": _AT_ONCE}
            page: str | None = "1"
            while page is not None:
                answer = self._ask("POST", "/search/metadata", json={**body, "page": int(page)})
                found = self._parse(_Found, answer).assets
                yield from found.items
                page = found.next_page

    def _ask(self, method: str, path: str, **content: Any) -> bytes:
        response = self._send(method, path, **content)
        self._check(response)
        return response.content

    def _send(self, method: str, path: str, **content: Any) -> httpx.Response:
        try:
            return self._client.request(method, path, **content)
        except httpx.HTTPError as error:
            why = str(error) or type(error).__name__
            raise UnreachableError(f"Immich at {self.url} does not answer: {why}", _GO_ON_HINT) from error

    def _check(self, response: httpx.Response) -> None:
        if response.is_success:
            return
        status = response.status_code
        if status == httpx.codes.UNAUTHORIZED:
            raise ServerError(
                f"Immich at {self.url} does not know this API key",
                "make one in Immich, under Account Settings > API Keys",
            )
        if response.is_redirect:
            raise ServerError(
                f"{self.url} redirects to {response.headers.get('location')}", "give that address"
            )
        raise ServerError(f"Immich at {self.url} refuses: {_message(response)} ({status})", _GO_ON_HINT)

    def _parse(self, kind: type[_Parsed], content: bytes) -> _Parsed:
        try:
            return TypeAdapter(kind).validate_json(content)
        except ValidationError as error:
            raise ServerError(
                f"the answer from {self.url} is not one of Immich 2", "check the address, or update Immich"
            ) from error


def _message(response: httpx.Response) -> str:
    try:
        return str(response.json()["message"])[:300]
    except (ValueError, KeyError, TypeError):
        return response.reason_phrase
