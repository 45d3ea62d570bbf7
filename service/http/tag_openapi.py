"""The OpenAPI description of POST /v1/tag. It is written by hand because the route reads the body itself: the
body may be a form, JSON or an image, and its size is limited. It says in words, not by `anyOf`, which fields
need each other: client generators give up on schemas without a type of their own."""

from typing import Any

from sigrl.service.http.openapi import named
from sigrl.service.http.problems import documented
from sigrl.service.http.tag_body import TagBody
from sigrl.service.http.tag_request import MAX_VOCABULARIES, NDJSON
from sigrl.service.tagging.selection import THRESHOLDS
from sigrl.service.vocabularies.builtin import NAME

_PARAMETERS: dict[str, dict[str, Any]] = {
    "url": {
        "type": "array",
        "items": {"type": "string", "format": "uri"},
        "minItems": 1,
        "description": "URL of a photograph, instead of `image` or in addition to it; can be repeated. The "
        "service must allow it with SIGRL_URL_INPUT.",
    },
    "labels": {
        "type": "array",
        "items": {"type": "string", "pattern": "\\S"},
        "minItems": 1,
        "description": "What to look for: `dog,bicycle`, repeated fields, or a JSON list if a label contains "
        'a comma: `["salt, pepper","dog"]`.',
    },
    "vocabulary": {
        "type": "array",
        "items": {"type": "string", "pattern": f"^{NAME.pattern}$"},
        "minItems": 1,
        "maxItems": MAX_VOCABULARIES,
        "uniqueItems": True,
        "examples": [["coco80"]],
        "description": "Name of a vocabulary to use instead of `labels`; can be repeated. See GET "
        "/v1/vocabularies.",
    },
    "language": {
        "type": "string",
        "minLength": 1,
        "examples": ["de"],
        "description": "BCP 47 tag of the language that tags are named in: one that the vocabulary has "
        "translations into. `labels` are read in that language first. Without it, Accept-Language counts.",
    },
    "top_k": {
        "type": "integer",
        "minimum": 1,
        "description": "The largest number of tags. Without `threshold`, exactly this many, accepted or not.",
    },
    "threshold": {
        "type": "number",
        "minimum": 0,
        "maximum": 1,
        "description": "Probability that a tag must reach, unless its label has its own threshold.",
    },
    "false_positive_rate": {
        "type": "number",
        "exclusiveMinimum": 0,
        "exclusiveMaximum": 1,
        "description": "Instead of `threshold`: of everyday photographs without a label, the share that may "
        "get it. Not every checkpoint supports this.",
    },
    "precision": {
        "type": "number",
        "exclusiveMinimum": 0,
        "exclusiveMaximum": 1,
        "description": "Instead of `threshold`: of everyday photographs that get a label, the share that is "
        "expected to show it. Not every checkpoint supports this.",
    },
    "recall": {
        "type": "number",
        "exclusiveMinimum": 0,
        "exclusiveMaximum": 1,
        "description": "Instead of `threshold`: of everyday photographs that show a label, the share that "
        "is expected to get it. Not every checkpoint supports this.",
    },
    "checkpoint": {
        "type": "string",
        "minLength": 1,
        "description": "Id of a checkpoint in memory to use instead of the active one; see GET "
        "/v1/checkpoints.",
    },
}
_IDEMPOTENCY_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255},
    "description": "A random text that lets a request be sent again safely: for ten minutes, or until the "
    "memory for answers is full, the same request with the same key gets the stored answer.",
}


def _json_schema() -> dict[str, Any]:
    reference = named(TagBody)
    schema, image = (reference["$defs"][each] for each in ("TagBody", "JsonImage"))
    for name, form in (("data", "byte"), ("url", "uri")):
        description = image["properties"][name]["description"]
        image["properties"][name] = {"type": "string", "format": form, "description": description}
    schema["properties"]["vocabulary"] = _PARAMETERS["vocabulary"]
    schema["properties"]["labels"] = _PARAMETERS["labels"]
    for name in ("top_k", *THRESHOLDS):
        number = {key: value for key, value in _PARAMETERS[name].items() if key != "description"}
        schema["properties"][name] |= {"anyOf": [number, {"type": "null"}]}
    return reference


def _in_query(name: str) -> dict[str, Any]:
    schema = {key: value for key, value in _PARAMETERS[name].items() if key != "description"}
    return {
        "name": name,
        "in": "query",
        "schema": schema,
        "description": _PARAMETERS[name]["description"],
    }


_IMAGE = {"type": "string", "format": "binary"}
_RAW = {kind: {"schema": _IMAGE} for kind in ("image/*", "application/octet-stream")}
OPENAPI: dict[str, Any] = {
    "parameters": [*map(_in_query, _PARAMETERS), _IDEMPOTENCY_KEY],
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "image": {
                            "type": "array",
                            "items": _IMAGE,
                            "minItems": 1,
                            "description": "One or more photographs. They may only be left out beside `url`.",
                        },
                        **_PARAMETERS,
                    },
                    "additionalProperties": False,
                }
            },
            "application/json": {"schema": _json_schema()},
            **_RAW,
        },
    },
}


def photographs_alone(several: bool) -> dict[str, Any]:
    """The form of POST /v1/tag with photographs alone, or one raw photograph.

    A module that openapi-python-client makes for a route with several kinds of body can only be imported if
    the route has an optional parameter; here that is `url`.
    """
    image = OPENAPI["requestBody"]["content"]["multipart/form-data"]["schema"]["properties"]["image"]
    schema = {
        "type": "object",
        "properties": {"image": image if several else _IMAGE},
        "required": ["image"],
        "additionalProperties": False,
    }
    content = {"multipart/form-data": {"schema": schema}, **_RAW}
    return {
        "parameters": [_in_query("url")],
        "requestBody": {"required": True, "content": content},
    }


RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Tags; with `Accept: application/x-ndjson`, a line per photograph, as each is tagged.",
        "content": {NDJSON: {"schema": {"type": "string", "description": "Lines of JSON: TagLine."}}},
        "headers": {
            "Server-Timing": {
                "schema": {"type": "string"},
                "description": "Milliseconds in `decode`, `queue`, `model` and `score`: for each step, the "
                "longest time over the photographs. Not sent with lines.",
            },
            "Idempotent-Replayed": {
                "schema": {"type": "string", "enum": ["true"]},
                "description": "The answer was made for an earlier request with the same Idempotency-Key.",
            },
        },
    },
    **documented(408, 409, 413, 415, 422, 429, 500, 503, 504, 507),
}
