"""Reads a calibration request from a form."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from anyio import to_thread
from pydantic import Field, TypeAdapter, ValidationError
from starlette.datastructures import UploadFile
from starlette.requests import Request

from sigrl.model.bounded_json import check_size
from sigrl.model.vocabulary import MAX_LABELS, Vocabulary
from sigrl.model.words import Name
from sigrl.service.errors import ExamplesError, ParameterError
from sigrl.service.http.content import first_fault
from sigrl.service.http.forms import read_form
from sigrl.service.schemas.base import Received
from sigrl.service.schemas.calibration import CalibrationGoal
from sigrl.service.settings import Settings
from sigrl.service.vocabularies.examples import LabelledFile

_HINT = (
    "send as many objects as photographs, in their order: "
    '`-F image=@a.jpg -F \'examples=[{"positive": ["dog"], "negative": ["cat"]}]\'`'
)


_Names = Annotated[tuple[Name, ...], Field(max_length=MAX_LABELS, fail_fast=True)]


class Shown(Received):
    """The labels that apply and do not apply to one photograph."""

    positive: _Names = ()
    """Labels that apply."""
    negative: _Names | Literal["others"] = ()
    """Labels that do not apply; `"others"` means all other labels of the vocabulary."""


@dataclass(frozen=True)
class CalibrationRequest:
    """A parsed calibration request."""

    files: tuple[LabelledFile, ...]
    goal: CalibrationGoal
    replace: bool
    """Whether the new examples replace the stored ones."""


async def read_calibration_request(
    request: Request, vocabulary: Vocabulary, settings: Settings
) -> CalibrationRequest:
    """Reads the form. Raises ContentTypeError, ExamplesError, ParameterError, RequestError,
    RequestTooLargeError, StorageFullError."""
    photographs: list[tuple[str | None, bytes]] = []
    texts: dict[str, str] = {}
    async with read_form(request, settings.max_images, len(_FIELDS), _HINT) as form:
        for name, value in form:
            if isinstance(value, UploadFile) and name == "image":
                photographs.append((value.filename, await value.read()))
            elif isinstance(value, str) and name in _FIELDS:
                texts[name] = value
            else:
                raise ParameterError(
                    f"the field `{name[:40]}` is not known here",
                    f"use image for photographs, and {', '.join(_FIELDS)} for texts",
                )
    return await to_thread.run_sync(_parse, photographs, texts, vocabulary)


def _parse(
    photographs: list[tuple[str | None, bytes]], texts: dict[str, str], vocabulary: Vocabulary
) -> CalibrationRequest:
    shown = _shown(texts.get("examples", "[]"))
    if len(shown) != len(photographs):
        raise ExamplesError(f"there are {len(photographs)} photographs and {len(shown)} examples", _HINT)
    labelled = tuple(
        LabelledFile(filename, data, _labels(each, vocabulary))
        for (filename, data), each in zip(photographs, shown, strict=True)
    )
    return CalibrationRequest(labelled, _goal(texts), _flag(texts.get("replace", "false")))


_FIELDS = ("examples", "goal", "value", "replace")
_SHOWN = TypeAdapter(Annotated[tuple[Shown, ...], Field(fail_fast=True)])


def _shown(text: str) -> tuple[Shown, ...]:
    try:
        check_size(text)
    except ValueError as error:
        raise ExamplesError(f"`examples` cannot be used: {error}", _HINT) from error
    try:
        return _SHOWN.validate_json(text)
    except ValidationError as error:
        raise ExamplesError(f"`examples` cannot be used: {first_fault(error)}", _HINT) from error


def _labels(shown: Shown, vocabulary: Vocabulary) -> dict[str, bool]:
    names = vocabulary.names_in_any_language
    positive = {_known(name, names, vocabulary) for name in shown.positive}
    if shown.negative == "others":
        negative = set(vocabulary.names) - positive
    else:
        negative = {_known(name, names, vocabulary) for name in shown.negative}
    if both := positive & negative:
        raise ExamplesError(f"{min(both)!a} is both positive and negative for one photograph", "list it once")
    return dict.fromkeys(sorted(positive), True) | dict.fromkeys(sorted(negative), False)


def _known(name: str, names: Mapping[str, str], vocabulary: Vocabulary) -> str:
    known = names.get(name.casefold())
    if known is None:
        raise ExamplesError(
            f"there is no label {name[:80]!a} in the vocabulary '{vocabulary.name}'",
            "use its labels' names; GET /v1/vocabularies/{name} lists them",
        )
    return known


def _goal(texts: dict[str, str]) -> CalibrationGoal:
    fields: dict[str, Any] = {"kind": texts.get("goal", "f1")}
    if "value" in texts:
        fields["value"] = texts["value"]
    try:
        return CalibrationGoal.model_validate(fields)
    except ValidationError as error:
        raise ParameterError(
            f"the goal cannot be used: {first_fault(error)}",
            "goal=f1, or goal=precision, recall or false-positive-rate with a value between 0 and 1",
        ) from error


def _flag(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ParameterError(f"replace is '{text[:40]}'", "give true or false")
    return text.lower() == "true"
