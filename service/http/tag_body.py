"""The JSON body of POST /v1/tag."""

import base64
import json
from typing import Annotated, Self
from urllib.parse import unquote_to_bytes

from pydantic import Field, model_validator

from sigrl.model.vocabulary import MAX_LABELS
from sigrl.service.errors import RequestError
from sigrl.service.schemas.base import Received
from sigrl.service.tagging.selection import THRESHOLDS

HINT = 'send {"images": [{"data": "BASE64"}], "labels": ["dog", "cat"]}; the fields are described at /docs'


_STANDARD_ALPHABET = bytes.maketrans(b"-_", b"+/")
_NOT_DIGITS = b" \t\r\n="
# A data: URL may write these as %2B, %2F, %3D.
_PERCENT_ENCODED = tuple(
    (f"%{code}", sign) for sign in "+/=" for code in (f"{ord(sign):02X}", f"{ord(sign):02x}")
)
# Decoding in slices lets other threads run in between.
_SLICE = 1 << 20
_MAX_PERCENT_ENCODED = 1 << 20
# Long enough for each label that is valid, and for a clear error about others.
_Text = Annotated[str, Field(max_length=1000)]


class JsonImage(Received):
    """One photograph: either `data` or `url`."""

    data: str | None = Field(default=None, min_length=1)
    """The file in standard or URL-safe base64, with or without line breaks and padding; or a `data:` URL."""
    url: str | None = Field(default=None, min_length=1)
    """A `data:` URL, or an address to fetch if SIGRL_URL_INPUT allows it."""
    filename: str | None = Field(default=None, max_length=1000)
    """The photograph's name in the answer."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.data is None) == (self.url is None):
            raise ValueError("an image needs exactly one of data and url")
        return self

    @property
    def address(self) -> str | None:
        """The URL to fetch the file from; None if the file is in the body."""
        return None if self.url is None or _is_data_url(self.url) else self.url

    def content(self) -> bytes:
        """The file's bytes, or empty bytes if it has to be fetched. Raises RequestError."""
        if self.address is not None:
            return b""
        text = self.data or self.url or ""
        if not _is_data_url(text):
            return _decode_base64(text)
        head, _, text = text.partition(",")
        if not head.lower().endswith(";base64"):
            return _decode_percent(text)
        if "%" in text:
            for encoded, sign in _PERCENT_ENCODED:
                text = text.replace(encoded, sign)
        return _decode_base64(text)


class TagBody(Received):
    """Photographs and parameters, with the same fields as a form."""

    images: Annotated[list[JsonImage], Field(min_length=1, fail_fast=True)]
    """Photographs."""
    labels: Annotated[list[_Text], Field(min_length=1, max_length=MAX_LABELS, fail_fast=True)] | None = None
    """The labels to look for."""
    vocabulary: str | Annotated[list[str], Field(min_length=1, fail_fast=True)] | None = None
    """The names of one or more vocabularies, in place of labels."""
    language: str | None = Field(default=None, min_length=1)
    """BCP 47 tag of the language that tags are named in, and that `labels` are read in first."""
    top_k: int | None = None
    threshold: float | None = None
    false_positive_rate: float | None = None
    precision: float | None = None
    recall: float | None = None
    checkpoint: str | None = None
    """Id of a loaded checkpoint that answers in place of the active one."""

    def parameters(self) -> list[tuple[str, str]]:
        """The parameters as (name, value) pairs, as in a form."""
        names = [self.vocabulary] if isinstance(self.vocabulary, str) else self.vocabulary or []
        others = ("language", "top_k", *THRESHOLDS, "checkpoint")
        given = [(name, getattr(self, name)) for name in others]
        return [
            *([("labels", json.dumps(self.labels))] if self.labels is not None else []),
            *(("vocabulary", name) for name in names),
            *((name, str(value)) for name, value in given if value is not None),
        ]


def _is_data_url(text: str) -> bool:
    return text[:5].lower() == "data:"


def _decode_base64(text: str) -> bytes:
    """Decodes either alphabet of RFC 4648, with or without line breaks and padding. Raises RequestError."""
    if (end := text.find("=")) >= 0 and text[end:].strip(_NOT_DIGITS.decode()):
        raise RequestError("the data of an image goes on after its padding with `=`", HINT)
    try:
        decoded, rest = bytearray(), b""
        for start in range(0, len(text), _SLICE):
            piece = text[start : start + _SLICE].encode("ascii")
            digits = rest + piece.translate(_STANDARD_ALPHABET, _NOT_DIGITS)
            whole = len(digits) - len(digits) % 4
            decoded += base64.b64decode(digits[:whole], validate=True)
            rest = digits[whole:]
        decoded += base64.b64decode(rest + b"=" * (-len(rest) % 4), validate=True)
    except ValueError as error:
        raise RequestError(f"the data of an image is not base64: {error}", HINT) from error
    return bytes(decoded)


def _decode_percent(text: str) -> bytes:
    if len(text) > _MAX_PERCENT_ENCODED:
        raise RequestError("a data: URL of more than 1 MiB is not base64", HINT)
    return unquote_to_bytes(text)
