"""The base class of foreign requests, and a photograph in one."""

from typing import Annotated

from pydantic import ConfigDict, Field

from sigrl.service.schemas.base import Schema


class ForeignRequest(Schema):
    """Base class of what other programs' clients send. Values must have their type: no text is read as a
    number."""

    model_config = ConfigDict(strict=True)


Photograph = Annotated[
    str,
    Field(
        min_length=1,
        json_schema_extra={"format": "byte"},
        description="Base64, a `data:` URL, or an address to fetch if SIGRL_URL_INPUT allows it.",
    ),
]
