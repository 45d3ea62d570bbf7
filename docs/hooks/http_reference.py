"""Writes the HTTP reference into docs/api/http.md, from the application's own OpenAPI document."""

from collections.abc import Iterator
from typing import Any

from mkdocs.structure.pages import Page

from sigrl.service.app import create_app
from sigrl.service.settings import Settings

MARK = "<!-- http reference -->"
Schema = dict[str, Any]


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Puts the reference in the place of the mark."""
    if page.file.src_uri != "api/http.md":
        return markdown
    assert MARK in markdown
    # A key is asked for on any address but this machine's, and the document is made without a listener.
    document = create_app(Settings()).openapi()
    return markdown.replace(MARK, "\n".join([*_routes(document), "", "## Types", "", *_types(document)]))


def _routes(document: Schema) -> Iterator[str]:
    group = ""
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            if operation["tags"][0] != group:
                group = operation["tags"][0]
                yield f"## {group.capitalize()}\n"
            yield f"### `{method.upper()} {path}`\n"
            yield f"{operation.get('description', '')}\n"
            scopes = [
                scope for need in operation.get("security", []) for each in need.values() for scope in each
            ]
            if scopes:
                named = ", ".join(f"`{scope}`" for scope in scopes)
                yield f"Needs a key of scope {named}, where keys are needed.\n"
            yield from _parameters(operation.get("parameters", []))
            yield from _body(operation.get("requestBody"))
            yield from _answers(operation["responses"])


def _parameters(parameters: list[Schema]) -> Iterator[str]:
    if not parameters:
        return
    yield "| parameter | in | type | |\n|---|---|---|---|"
    for each in parameters:
        needed = "Required. " if each.get("required") else ""
        told = _one_line(needed + each.get("description", ""))
        yield f"| `{each['name']}` | {each['in']} | {_kind(each['schema'])} | {told} |"
    yield ""


def _body(body: Schema | None) -> Iterator[str]:
    if body is None:
        return
    yield "| body | | |\n|---|---|---|"
    for kind, content in body["content"].items():
        schema = content.get("schema", {})
        yield f"| `{kind}` | {_kind(schema)} | {_one_line(schema.get('description', ''))} |"
        # Types have a section of their own; what stands here alone is told here.
        for name, field in schema.get("properties", {}).items():
            yield f"| … `{name}` | {_kind(field)} | {_one_line(field.get('description', ''))} |"
    yield ""


def _answers(responses: Schema) -> Iterator[str]:
    yield "| status | answer | |\n|---|---|---|"
    for status, response in sorted(responses.items()):
        contents = response.get("content", {})
        kinds = [f"`{kind}`: {_kind(content.get('schema', {}))}" for kind, content in contents.items()]
        told = [response["description"]]
        told += [
            f"`{name}`: {_one_line(each.get('description', ''))}"
            for name, each in response.get("headers", {}).items()
        ]
        yield f"| {status} | {'<br>'.join(kinds)} | {_one_line('<br>'.join(told))} |"
    yield ""


def _types(document: Schema) -> Iterator[str]:
    for name, schema in document["components"]["schemas"].items():
        yield f"### {name}\n"
        yield f"{schema.get('description', '')}\n"
        if "enum" in schema:
            yield f"One of {', '.join(f'`{value}`' for value in schema['enum'])}.\n"
        if not schema.get("properties"):
            continue
        yield "| field | type | |\n|---|---|---|"
        for field, told in schema["properties"].items():
            needed = "" if field in schema.get("required", []) else "Optional. "
            yield f"| `{field}` | {_kind(told)} | {_one_line(needed + told.get('description', ''))} |"
        yield ""


def _kind(schema: Schema) -> str:
    """A type, with a link where it has a section."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if several := schema.get("anyOf") or schema.get("oneOf") or schema.get("allOf"):
        return " or ".join(_kind(each) for each in several)
    if "enum" in schema or "const" in schema:
        return " or ".join(f"`{value}`" for value in schema.get("enum", [schema.get("const")]))
    if schema.get("type") == "array":
        return f"list of {_kind(schema.get('items', {}))}"
    values = schema.get("additionalProperties")
    if isinstance(values, dict):
        return f"object of {_kind(values)}"
    return str(schema.get("format", schema.get("type", "")))


def _one_line(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
