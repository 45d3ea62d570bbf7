"""The base class of all schemas."""

from pydantic import BaseModel, ConfigDict


class Schema(BaseModel):
    """Base class of everything sent over the wire; immutable."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)
