"""Parts of the OpenAPI document that FastAPI does not make: names for operations, and for bodies that routes
read themselves."""

from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

Schema = dict[str, Any]

_REFERENCE = "#/components/schemas/{model}"


def operation_id(route: APIRoute) -> str:
    """The name of the route's function, which generated clients use for their own functions."""
    return route.name


def named(kind: type[BaseModel]) -> Schema:
    """A reference to a model's schema, with the schemas beside it in `$defs`, from where `install` moves them
    to the document's components."""
    _, definitions = models_json_schema([(kind, "validation")], ref_template=_REFERENCE)
    return {"$ref": _REFERENCE.format(model=kind.__name__), "$defs": definitions["$defs"]}


def component(name: str, schema: Schema) -> Schema:
    """The same for a schema that is written by hand."""
    return {"$ref": _REFERENCE.format(model=name), "$defs": {name: schema}}


def json_body(kind: type[BaseModel]) -> Schema:
    """The `openapi_extra` of a route that reads a JSON body with `read_json_as`."""
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": named(kind)}}}}


def install(app: FastAPI) -> None:
    """Moves the schemas of `named` and `component` to the components of the application's document."""
    make = app.openapi

    def openapi() -> Schema:
        is_new = app.openapi_schema is None
        document = make()
        if is_new:
            schemas = document["components"]["schemas"]
            for schema in list(_taken_out(document["paths"])):
                schemas.update(schema)
            document["components"]["schemas"] = dict(sorted(schemas.items()))
        return document

    app.openapi = openapi  # type: ignore[method-assign]


def _taken_out(part: Any) -> Any:
    """Removes every `$defs` from a part of the document and yields it."""
    if isinstance(part, dict):
        if "$defs" in part:
            yield part.pop("$defs")
        part = list(part.values())
    if isinstance(part, list):
        for each in part:
            yield from _taken_out(each)
