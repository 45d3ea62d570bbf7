"""OpenAI's embeddings, with photographs beside texts as Jina and infinity accept them.

Sources: https://platform.openai.com/docs/api-reference/embeddings and https://api.jina.ai/redoc#tag/embeddings.
"""

from typing import Annotated, Literal

from pydantic import Field

from sigrl.service.schemas.base import Schema
from sigrl.service.schemas.compat.request import ForeignRequest, Photograph

MAX_INPUTS = 1000
Text = Annotated[str, Field(min_length=1, max_length=1000, pattern=r"\S")]


class ImageInput(ForeignRequest):
    """A photograph to embed."""

    image: Photograph


class TextInput(ForeignRequest):
    """A text to embed."""

    text: Text


Input = Text | ImageInput | TextInput


class EmbeddingsRequest(ForeignRequest):
    """Photographs and texts to embed."""

    input: Text | Annotated[tuple[Input, ...], Field(min_length=1, max_length=MAX_INPUTS)] = Field(
        examples=[["a dog", {"text": "a cat"}]]
    )
    """A text, or a list of texts, `{"text": ...}` and `{"image": ...}`."""
    model: str = ""
    """Ignored: the active checkpoint answers, and `model` in the answer gives its id."""
    encoding_format: Literal["float", "base64"] = "float"
    """Lists of numbers, or base64 of little-endian float32."""
    dimensions: None = None
    """Not supported: embeddings have the checkpoint's size."""


class Embedding(Schema):
    """The embedding of one input."""

    object: Literal["embedding"] = "embedding"
    index: int
    """Position of the input in the request, from 0."""
    embedding: tuple[float, ...] | str
    """A unit vector, in the format that the request asks for."""


class Usage(Schema):
    """Always 0: nothing is charged by tokens."""

    prompt_tokens: int = 0
    total_tokens: int = 0


class EmbeddingsList(Schema):
    """Embeddings from one checkpoint; they cannot be compared with those of another."""

    object: Literal["list"] = "list"
    data: tuple[Embedding, ...]
    """One per input, in the order of the request."""
    model: str
    """Id of the checkpoint."""
    usage: Usage = Usage()
