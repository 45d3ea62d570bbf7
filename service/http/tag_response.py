"""Writes tag answers as one JSON object, or as one line per photograph."""

import math
from collections.abc import Sequence
from dataclasses import fields

from anyio import to_thread

from sigrl.service.errors import TaggerError
from sigrl.service.http.problems import unforeseen
from sigrl.service.http.tag_request import TagRequest
from sigrl.service.schemas.tagging import Tag, Tagging
from sigrl.service.schemas.tags import (
    FailedImage,
    ImageTaggedBySeveral,
    TagAnswer,
    TagAnswerBySeveral,
    TaggedImage,
    TagLine,
    TagLineBySeveral,
    VocabularyTags,
)
from sigrl.service.serving.outcomes import ImageResult, Seconds, TaggingStream

_QUICK_TAGS = 64
"""Writing so many tags takes less time than a change of threads."""


def fault(finished: Sequence[ImageResult]) -> Exception | None:
    """The error that makes the whole request fail, if no photograph was tagged: a server fault, or the error
    of the only photograph. Otherwise None."""
    errors = [each.outcome for each in finished if isinstance(each.outcome, Exception)]
    if len(errors) < len(finished):
        return None
    return next((error for error in errors if ours(error)), errors[0] if len(errors) == 1 else None)


def ours(error: object) -> bool:
    """Whether the error is a server fault (status 500 or above), so that a retry may succeed."""
    return isinstance(error, Exception) and (not isinstance(error, TaggerError) or error.status >= 500)


async def json_body(
    asked: TagRequest, tags: TaggingStream, finished: Sequence[ImageResult], request_id: str
) -> bytes:
    """The whole answer as JSON, written in a thread if it may take a while."""
    shown = [each for one in finished if not isinstance(one.outcome, Exception) for each in one.outcome]
    if sum(len(each.tags) + len(each.implied) for each in shown) <= _QUICK_TAGS:
        return _json_body(asked, tags, finished, request_id)
    return await to_thread.run_sync(_json_body, asked, tags, finished, request_id)


def _json_body(
    asked: TagRequest, tags: TaggingStream, finished: Sequence[ImageResult], request_id: str
) -> bytes:
    images = tuple(_image(asked, each, request_id) for each in finished)
    kind = TagAnswerBySeveral if len(tags.vocabularies) > 1 else TagAnswer
    answer = kind.model_validate({**_made_by(tags), "images": images})
    return answer.model_dump_json().encode()


def json_line(asked: TagRequest, tags: TaggingStream, finished: ImageResult, request_id: str) -> bytes:
    """One photograph's line of NDJSON, including the newline."""
    kind = TagLineBySeveral if len(tags.vocabularies) > 1 else TagLine
    image = _image(asked, finished, request_id)
    line = kind.model_validate({"index": finished.number, **_made_by(tags), "image": image})
    return line.model_dump_json().encode() + b"\n"


def _made_by(tags: TaggingStream) -> dict[str, object]:
    several = len(tags.vocabularies) > 1
    looked_for = {"vocabularies": tags.vocabularies} if several else {"vocabulary": tags.vocabularies[0]}
    warnings = tags.warnings()
    return {"checkpoint": tags.checkpoint, **looked_for, "warnings": warnings if several else warnings[0]}


def failed_image(filename: str | None, error: Exception, request_id: str) -> FailedImage:
    """The entry in the answer for a photograph that could not be processed."""
    told = error if isinstance(error, TaggerError) else unforeseen(error, request_id)
    return FailedImage(filename=filename, status=told.status, error=told.problem())


def server_timing(finished: Sequence[ImageResult]) -> str:
    """The header Server-Timing in milliseconds: for each stage, the longest time over all photographs."""
    longest = {
        field.name: max(getattr(each.seconds, field.name) for each in finished) for field in fields(Seconds)
    }
    return ", ".join(f"{name};dur={math.ceil(seconds * 1e4) / 10}" for name, seconds in longest.items())


def _image(
    asked: TagRequest, finished: ImageResult, request_id: str
) -> TaggedImage | ImageTaggedBySeveral | FailedImage:
    filename = asked.uploads[finished.number].filename
    if isinstance(finished.outcome, Exception):
        return failed_image(filename, finished.outcome, request_id)
    if len(finished.outcome) == 1:
        return TaggedImage.model_validate({"filename": filename, **_shown(finished.outcome[0])})
    results = tuple(
        VocabularyTags(vocabulary=each.vocabulary.name, **_shown(each)) for each in finished.outcome
    )
    return ImageTaggedBySeveral(filename=filename, results=results)


def _shown(tagging: Tagging) -> dict[str, tuple[Tag, ...]]:
    return {"tags": tagging.tags, "implied": tagging.implied, "guesses": tagging.guesses}
