"""Builds requests to the service and parses their responses; opens no connection."""

import json
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar
from urllib.parse import quote

import httpx
from pydantic import BaseModel

from sigrl.model.vocabulary import SETTINGS, Vocabulary
from sigrl.service.client.photographs import Upload
from sigrl.service.schemas.calibration import CalibrationGoal, CalibrationReport
from sigrl.service.schemas.checkpoints import CheckpointInfo, CheckpointList
from sigrl.service.schemas.embeddings import EmbeddingsAnswer
from sigrl.service.schemas.feedback import FeedbackAnswer
from sigrl.service.schemas.suggesting import Candidate, CandidatesAnswer, Suggestion
from sigrl.service.schemas.tagging import Explanation
from sigrl.service.schemas.tags import TagAnswer, TagLine, TagLineBySeveral
from sigrl.service.schemas.vocabularies import VocabularyDocument, VocabularyPage, VocabularySummary
from sigrl.service.tagging.selection import Thresholds

T = TypeVar("T")
Content = TypeVar("Content", bound=BaseModel)

NDJSON = "application/x-ndjson"


class StoredVocabulary(VocabularyDocument):
    """A vocabulary with its labels and the ETag of this version."""

    etag: str
    """Pass it as `if_match`."""


class StoredSummary(VocabularySummary):
    """A vocabulary without its labels, and the ETag of this version."""

    etag: str
    """Pass it as `if_match`."""


@dataclass(frozen=True)
class Request(Generic[T]):
    """A request, and how to read its response."""

    method: str
    path: str
    read: Callable[[httpx.Response], T]
    arguments: Mapping[str, Any] = field(default_factory=dict)
    """Keyword arguments of `httpx.Client.build_request`."""
    repeatable: bool = True
    """Whether it may safely be sent twice."""


@dataclass(frozen=True)
class Wanted:
    """What to look for in photographs and what to return; see POST /v1/tag."""

    labels: Sequence[str] | None = None
    vocabularies: Sequence[str] = ()
    top_k: int | None = None
    thresholds: Thresholds = field(default_factory=Thresholds)
    language: str | None = None

    def fields(self) -> dict[str, Any]:
        """The fields of a form; those without a value are left out."""
        given = {
            "labels": None if self.labels is None else json.dumps(list(self.labels)),
            "vocabulary": list(self.vocabularies) or None,
            "top_k": self.top_k,
            "language": self.language,
            **self.thresholds,
        }
        return {name: value for name, value in given.items() if value is not None}


def tag(uploads: Sequence[Upload], wanted: Wanted) -> Request[TagAnswer]:
    """POST /v1/tag. It carries an Idempotency-Key: sent again, it does not tag a photograph twice."""
    return Request("POST", "/v1/tag", _content_of(TagAnswer), _tagging(uploads, wanted))


def tag_lines(uploads: Sequence[Upload], wanted: Wanted) -> Request[None]:
    """POST /v1/tag with a response in lines, each of which `line` parses."""
    arguments = _tagging(uploads, wanted)
    arguments["headers"]["Accept"] = NDJSON
    return Request("POST", "/v1/tag", lambda _: None, arguments)


def line(text: str) -> TagLine | TagLineBySeveral:
    """Parses the line of one photograph."""
    kind = TagLineBySeveral if "vocabularies" in json.loads(text) else TagLine
    return kind.model_validate_json(text)


def explain(photograph: Upload, wanted: Wanted) -> Request[Explanation]:
    """POST /v1/explain."""
    arguments = {"data": wanted.fields(), "files": _files([photograph])}
    return Request("POST", "/v1/explain", _content_of(Explanation), arguments)


def embed_photographs(uploads: Sequence[Upload]) -> Request[EmbeddingsAnswer]:
    """POST /v1/embeddings."""
    return Request("POST", "/v1/embeddings", _content_of(EmbeddingsAnswer), {"files": _files(uploads)})


def embed_labels(labels: Sequence[str]) -> Request[EmbeddingsAnswer]:
    """POST /v1/embeddings."""
    body = {"json": {"labels": list(labels)}}
    return Request("POST", "/v1/embeddings", _content_of(EmbeddingsAnswer), body)


def list_vocabularies(after: str) -> Request[VocabularyPage]:
    """GET /v1/vocabularies."""
    return Request("GET", "/v1/vocabularies", _content_of(VocabularyPage), {"params": {"after": after}})


def get_vocabulary(name: str, version: int | None) -> Request[StoredVocabulary]:
    """GET /v1/vocabularies/{name}."""
    params = {} if version is None else {"version": version}
    return Request("GET", _vocabulary(name), _with_etag(StoredVocabulary), {"params": params})


def put_vocabulary(
    name: str, labels: Sequence[str] | Vocabulary | VocabularyDocument, if_match: str | None, new: bool
) -> Request[StoredSummary]:
    """PUT /v1/vocabularies/{name}. Not repeatable with a condition: the first attempt may already have
    changed the vocabulary."""
    content: object
    if isinstance(labels, Vocabulary | VocabularyDocument):
        content = labels.model_dump(mode="json", exclude_defaults=True, include={"labels", *SETTINGS})
    else:
        content = list(labels)
    headers = {} if if_match is None else {"If-Match": if_match}
    headers |= {"If-None-Match": "*"} if new else {}
    arguments = {"json": content, "headers": headers}
    return Request("PUT", _vocabulary(name), _with_etag(StoredSummary), arguments, repeatable=not headers)


def delete_vocabulary(name: str, if_match: str | None) -> Request[None]:
    """DELETE /v1/vocabularies/{name}."""
    headers = {} if if_match is None else {"If-Match": if_match}
    return Request("DELETE", _vocabulary(name), lambda _: None, {"headers": headers}, repeatable=False)


def calibrate(
    name: str,
    examples: Iterable[tuple[Upload, Mapping[str, bool]]],
    goal: CalibrationGoal,
    replace: bool,
) -> Request[CalibrationReport]:
    """POST /v1/vocabularies/{name}/calibrate. The same example sent twice counts once."""
    given = list(examples)
    shown = [
        {
            "positive": [n for n, applies in each.items() if applies],
            "negative": [n for n in each if not each[n]],
        }
        for _, each in given
    ]
    data = {"examples": json.dumps(shown), "goal": goal.kind, "replace": str(replace).lower()}
    if goal.value is not None:
        data["value"] = str(goal.value)
    arguments = {"data": data, "files": _files([upload for upload, _ in given])}
    return Request("POST", f"{_vocabulary(name)}/calibrate", _content_of(CalibrationReport), arguments)


def weigh(name: str, uploads: Sequence[Upload]) -> Request[CandidatesAnswer]:
    """POST /v1/vocabularies/{name}/candidates."""
    arguments = {"files": _files(uploads)}
    return Request("POST", f"{_vocabulary(name)}/candidates", _content_of(CandidatesAnswer), arguments)


def suggest(name: str, candidates: Sequence[Candidate], count: int) -> Request[Suggestion]:
    """POST /v1/vocabularies/{name}/suggest."""
    body = {
        "embeddings": [each.embedding for each in candidates],
        "doubts": [each.doubt for each in candidates],
        "count": count,
    }
    return Request("POST", f"{_vocabulary(name)}/suggest", _content_of(Suggestion), {"json": body})


def preview(upload: Upload) -> Request[bytes]:
    """POST /v1/preview."""
    return Request("POST", "/v1/preview", lambda response: response.content, {"files": _files([upload])})


def give_feedback(photograph: Upload, right: Sequence[str], wrong: Sequence[str]) -> Request[FeedbackAnswer]:
    """POST /v1/feedback. The same feedback sent twice counts once."""
    given = {"right": right, "wrong": wrong}
    data = {name: json.dumps(list(tags)) for name, tags in given.items() if tags}
    return Request(
        "POST", "/v1/feedback", _content_of(FeedbackAnswer), {"data": data, "files": _files([photograph])}
    )


def list_checkpoints() -> Request[CheckpointList]:
    """GET /v1/checkpoints."""
    return Request("GET", "/v1/checkpoints", _content_of(CheckpointList))


def get_checkpoint(checkpoint: str) -> Request[CheckpointInfo]:
    """GET /v1/checkpoints/{id}."""
    return Request("GET", _checkpoint(checkpoint), _content_of(CheckpointInfo))


def load_checkpoint(bundle: str) -> Request[CheckpointInfo]:
    """POST /v1/checkpoints/load. A checkpoint that is already in memory is left unchanged."""
    arguments = {"json": {"bundle": bundle}}
    return Request("POST", "/v1/checkpoints/load", _content_of(CheckpointInfo), arguments)


def activate_checkpoint(checkpoint: str, force: bool) -> Request[CheckpointInfo]:
    """POST /v1/checkpoints/{id}/activate. An active checkpoint stays active."""
    arguments = {"json": {"force": force}}
    return Request("POST", f"{_checkpoint(checkpoint)}/activate", _content_of(CheckpointInfo), arguments)


def roll_back() -> Request[CheckpointInfo]:
    """POST /v1/checkpoints/rollback. Not repeatable: a second rollback would undo the first."""
    return Request("POST", "/v1/checkpoints/rollback", _content_of(CheckpointInfo), repeatable=False)


def _tagging(uploads: Sequence[Upload], wanted: Wanted) -> dict[str, Any]:
    headers = {"Idempotency-Key": str(uuid.uuid4())}
    return {"data": wanted.fields(), "files": _files(uploads), "headers": headers}


def _files(uploads: Sequence[Upload]) -> list[tuple[str, tuple[str, bytes]]]:
    return [("image", (upload.filename, upload.data)) for upload in uploads]


def _vocabulary(name: str) -> str:
    return f"/v1/vocabularies/{quote(name, safe='')}"


def _checkpoint(checkpoint: str) -> str:
    return f"/v1/checkpoints/{quote(checkpoint, safe=':')}"


def _content_of(kind: type[Content]) -> Callable[[httpx.Response], Content]:
    return lambda response: kind.model_validate_json(response.content)


def _with_etag(kind: type[Content]) -> Callable[[httpx.Response], Content]:
    return lambda response: kind.model_validate({**response.json(), "etag": response.headers["etag"]})
