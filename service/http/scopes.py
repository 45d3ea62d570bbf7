"""The key scope that a route needs, declared at the route as `dependencies=[NEEDS_TAG]`. The OpenAPI document
shows it, and `sigrl.service.http.guard` enforces it."""

from typing import Any

from fastapi import Security
from fastapi.params import Security as Declared
from fastapi.security import HTTPBearer
from starlette.routing import BaseRoute

from sigrl.service.keys.key import KeyScope

_BEARER = HTTPBearer(
    auto_error=False,
    scheme_name="key",
    description="`Authorization: Bearer sigrl_...`; made by `sigrl key create`.",
)

NEEDS_TAG: Any = Security(_BEARER, scopes=[KeyScope.TAG])
NEEDS_VOCABULARY: Any = Security(_BEARER, scopes=[KeyScope.VOCABULARY])
NEEDS_ADMIN: Any = Security(_BEARER, scopes=[KeyScope.ADMIN])


def declared(route: BaseRoute) -> KeyScope | None:
    """The scope that a route declares, or None if it declares none."""
    for dependency in getattr(route, "dependencies", ()):
        if isinstance(dependency, Declared) and dependency.scopes:
            return KeyScope(dependency.scopes[0])
    return None
