"""What all schemas have in common."""

from pydantic import BaseModel, ConfigDict


class Schema(BaseModel):
    """Base of everything that crosses the wire: immutable."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)
