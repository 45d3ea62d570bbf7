"""The base classes of all schemas."""

from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator

from sigrl.model.bounded_json import refuse_unknown_fields


class Schema(BaseModel):
    """Base class of everything sent over the wire; immutable."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)


class Received(BaseModel):
    """Base class of objects in large bodies that clients write; unknown fields are errors."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown(cls, given: Any) -> Any:
        return refuse_unknown_fields(given, cls.model_fields)
