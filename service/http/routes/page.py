"""The pages at `/` and `/docs`, and the files that they load."""

import hashlib
from functools import cache
from importlib.resources import files

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import Response

router = APIRouter(include_in_schema=False)

_KINDS = {
    "html": "text/html",
    "css": "text/css",
    "js": "text/javascript",
    "json": "application/json",
    "jpg": "image/jpeg",
}
_OURS = files("sigrl.service").joinpath("web")
_SWAGGER_UI = files("fastapi_offline").joinpath("static")
_FILES = {each.name: each for each in _OURS.iterdir() if each.is_file()} | {
    name: _SWAGGER_UI.joinpath(name) for name in ("swagger-ui.css", "swagger-ui-bundle.js")
}
# The pages may load only files that ship with the service, and no inline scripts or styles.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


@router.head("/")
@router.get("/")
async def page(request: Request) -> Response:
    """The page at `/`."""
    return _answer("index.html", request)


@router.head("/docs")
@router.get("/docs")
async def docs(request: Request) -> Response:
    """The OpenAPI document in Swagger UI."""
    return _answer("docs.html", request)


@router.head("/web/{name}")
@router.get("/web/{name}")
async def part(name: str, request: Request) -> Response:
    """A file that the pages load."""
    if name not in _FILES:
        raise HTTPException(404)
    return _answer(name, request)


def _answer(name: str, request: Request) -> Response:
    content, etag = _read(name)
    headers = {"ETag": etag, "Cache-Control": "no-cache", "Content-Security-Policy": _POLICY}
    if request.headers.get("if-none-match") == etag:
        return Response(status_code=304, headers=headers)
    return Response(content, headers=headers, media_type=_KINDS[name.rpartition(".")[2]])


@cache
def _read(name: str) -> tuple[bytes, str]:
    content = _FILES[name].read_bytes()
    return content, f'"{hashlib.sha256(content).hexdigest()[:16]}"'
