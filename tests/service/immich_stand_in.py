"""A stand-in for Immich with the part of its OpenAPI document (version 2.4.1) that we use: the same paths,
permissions, requests and answers. It refuses what the document does not name."""

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Header, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

KEY = "immich-key"
ME, PARTNER = str(uuid.uuid4()), str(uuid.uuid4())
PERMISSIONS = ("user.read", "asset.read", "asset.view", "tag.read", "tag.create", "tag.asset")
_WHEN = "2026-01-01T00:00:00.000Z"
_PAGE = 2
"""Smaller than what is asked for, so that there are several pages."""


class AssetMediaSize(StrEnum):
    FULLSIZE = "fullsize"
    PREVIEW = "preview"
    THUMBNAIL = "thumbnail"


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid")


class MetadataSearchDto(_Request):
    type: str | None = None
    visibility: str = "timeline"
    tag_ids: list[uuid.UUID] | None = Field(None, alias="tagIds")
    order: str = "desc"
    size: int = Field(250, ge=1, le=1000)
    page: int = Field(1, ge=1)


class TagUpsertDto(_Request):
    tags: list[str]


class BulkIdsDto(_Request):
    ids: list[uuid.UUID]


class RefusedError(Exception):
    def __init__(self, status: int, message: str) -> None:
        self.status, self.message = status, message


@dataclass
class StandIn:
    """A library; its tags are paths."""

    assets: dict[str, dict[str, Any]] = field(default_factory=dict)
    previews: dict[str, bytes] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    """Path -> id."""
    tagged: set[tuple[str, str]] = field(default_factory=set)
    """(path of a tag, id of a photograph)."""
    permissions: list[str] = field(default_factory=lambda: list(PERMISSIONS))
    refused: set[str] = field(default_factory=set)
    """Photographs whose tags may not be changed."""
    requests: list[str] = field(default_factory=list)
    breaks_at: str | None = None
    """The begin of a request, such as `PUT /tags`, from which on the server is out of order."""

    def add(self, name: str, preview: bytes | None, **properties: Any) -> str:
        """Adds a photograph and returns its id."""
        asset = str(uuid.uuid4())
        self.assets[asset] = {
            "id": asset,
            "ownerId": ME,
            "originalFileName": name,
            "type": "IMAGE",
            "visibility": "timeline",
            **properties,
        }
        if preview is not None:
            self.previews[asset] = preview
        return asset

    def give(self, tag: str, asset: str) -> None:
        """Tags a photograph as its owner does by hand."""
        self.upsert(tag)
        self.tagged.add((tag, asset))

    def take(self, tag: str, asset: str) -> None:
        """Takes a tag away as the owner does by hand."""
        self.tagged.remove((tag, asset))

    def tags_of(self, asset: str) -> set[str]:
        return {tag for tag, tagged in self.tagged if tagged == asset}

    def upsert(self, tag: str) -> str:
        parts = [part for part in tag.split("/") if part]
        for length in range(1, len(parts) + 1):
            self.tags.setdefault("/".join(parts[:length]), str(uuid.uuid4()))
        return "/".join(parts)

    def path_of(self, tag: uuid.UUID) -> str:
        found = next((path for path, known in self.tags.items() if known == str(tag)), None)
        if found is None:
            raise RefusedError(400, "Not found or no tag.asset access")
        return found

    def answer(self, tag: str) -> dict[str, Any]:
        name = tag.rpartition("/")[2]
        return {"id": self.tags[tag], "name": name, "value": tag, "createdAt": _WHEN, "updatedAt": _WHEN}


def immich(library: StandIn) -> FastAPI:
    """The server."""
    app = FastAPI()

    @app.exception_handler(RefusedError)
    def _refuse(_: Request, error: RefusedError) -> Response:
        return JSONResponse({"message": error.message, "statusCode": error.status}, error.status)

    def needs(permission: str | None) -> Any:
        def check(request: Request, x_api_key: Annotated[str, Header()] = "") -> None:
            told = f"{request.method} {request.url.path.removeprefix('/api')}"
            library.requests.append(told)
            if library.breaks_at is not None and told.startswith(library.breaks_at):
                raise RefusedError(503, "out of order")
            if x_api_key != KEY:
                raise RefusedError(401, "Invalid API key")
            if permission is not None and not {permission, "all"} & set(library.permissions):
                raise RefusedError(403, f"Missing required permission: {permission}")

        extra = {} if permission is None else {"x-immich-permission": permission}
        return {"dependencies": [Depends(check)], "openapi_extra": extra}

    @app.get("/api/api-keys/me", **needs(None))
    def _key() -> dict[str, Any]:
        told = {"id": str(uuid.uuid4()), "name": "sigrl", "createdAt": _WHEN, "updatedAt": _WHEN}
        return {**told, "permissions": library.permissions}

    @app.get("/api/users/me", **needs("user.read"))
    def _user() -> dict[str, Any]:
        return {"id": ME, "name": "Me", "email": "me@example.com"}

    @app.post("/api/search/metadata", **needs("asset.read"))
    def _search(wanted: MetadataSearchDto) -> dict[str, Any]:
        found = [each for each in library.assets.values() if each["visibility"] == wanted.visibility]
        if wanted.type is not None:
            found = [each for each in found if each["type"] == wanted.type]
        for tag in wanted.tag_ids or ():
            path = library.path_of(tag)
            with_tag = {asset for own, asset in library.tagged if f"{own}/".startswith(f"{path}/")}
            found = [each for each in found if each["id"] in with_tag]
        size = min(wanted.size, _PAGE)
        start = (wanted.page - 1) * size
        items = found[start : start + size]
        following = str(wanted.page + 1) if len(found) > start + size else None
        counts = {"total": len(items), "count": len(items), "facets": []}
        albums = {"total": 0, "count": 0, "items": [], "facets": []}
        return {"albums": albums, "assets": {**counts, "items": items, "nextPage": following}}

    @app.get("/api/assets/{id}/thumbnail", **needs("asset.view"))
    def _preview(id: uuid.UUID, size: AssetMediaSize = AssetMediaSize.THUMBNAIL) -> Response:
        if str(id) not in library.previews or size is not AssetMediaSize.PREVIEW:
            raise RefusedError(404, "Asset media not found")
        return Response(library.previews[str(id)], media_type="application/octet-stream")

    @app.get("/api/tags", **needs("tag.read"))
    def _tags() -> list[dict[str, Any]]:
        return [library.answer(tag) for tag in sorted(library.tags)]

    @app.put("/api/tags", **needs("tag.create"))
    def _upsert(wanted: TagUpsertDto) -> list[dict[str, Any]]:
        return [library.answer(library.upsert(tag)) for tag in wanted.tags]

    def change(id: uuid.UUID, ids: list[uuid.UUID], harmless: str, allowed: Callable[[Any], bool]) -> Any:
        results = []
        for asset in map(str, ids):
            pair = (library.path_of(id), asset)
            if not allowed(pair):
                results.append({"id": asset, "success": False, "error": harmless})
            elif asset in library.refused:
                results.append({"id": asset, "success": False, "error": "no_permission"})
            else:
                library.tagged ^= {pair}
                results.append({"id": asset, "success": True})
        return results

    @app.put("/api/tags/{id}/assets", **needs("tag.asset"))
    def _tag(id: uuid.UUID, body: BulkIdsDto) -> Any:
        return change(id, body.ids, "duplicate", lambda pair: pair not in library.tagged)

    @app.delete("/api/tags/{id}/assets", **needs("tag.asset"))
    def _untag(id: uuid.UUID, body: BulkIdsDto) -> Any:
        return change(id, body.ids, "not_found", lambda pair: pair in library.tagged)

    return app
