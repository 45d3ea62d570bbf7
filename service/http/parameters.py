"""Refuses unknown parameters: ignoring a misspelt one would answer a different question."""

from fastapi import Request

from sigrl.service.errors import ParameterError


async def refuse_unknown_parameters(request: Request) -> None:
    """Raises ParameterError if the query has a parameter that the route's OpenAPI document does not list."""
    if not request.query_params:
        return
    operation = request.app.openapi()["paths"][request.scope["route"].path][request.method.lower()]
    known = [each["name"] for each in operation.get("parameters", ()) if each["in"] == "query"]
    for name in request.query_params:
        if name not in known:
            hint = f"use {', '.join(known)}" if known else "leave it out: this path takes none"
            raise ParameterError(f"there is no parameter `{name[:40]}`", hint)
