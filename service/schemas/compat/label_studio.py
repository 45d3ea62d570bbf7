"""Label Studio's ML backend and webhooks.

Sources: `label_studio_ml/api.py` of https://github.com/HumanSignal/label-studio-ml-backend, and
https://labelstud.io/guide/webhook_reference.
"""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from sigrl.service.schemas.base import Schema
from sigrl.service.schemas.compat.request import ForeignRequest

Config = str
"""A project's labelling configuration, in XML."""


class BackendHealth(Schema):
    """The answer to the question whether the backend works."""

    status: Literal["UP"] = "UP"
    model_class: str = "SigRL Tagger"


class SetupRequest(ForeignRequest):
    """Sent when the backend is added to a project."""

    label_config: Config = Field(alias="schema", max_length=1_000_000)


class ModelVersion(Schema):
    """The model that answers."""

    model_version: str
    """Id of the checkpoint."""


class Task(ForeignRequest):
    """One photograph to label."""

    data: Mapping[str, Any]
    """The fields of the task; the configuration says which of them is the photograph."""


class PredictRequest(ForeignRequest):
    """Photographs to tag in advance."""

    tasks: tuple[Task, ...] = Field(min_length=1)
    label_config: Config = Field(max_length=1_000_000)


class ChoicesValue(Schema):
    """The choices made for one photograph."""

    choices: tuple[str, ...]


class ChoicesRegion(Schema):
    """The result of one control of the configuration."""

    from_name: str
    to_name: str
    type: Literal["choices"] = "choices"
    value: ChoicesValue


class Prediction(Schema):
    """The tags of one photograph; without a result if none reaches its threshold or it cannot be tagged."""

    result: tuple[ChoicesRegion, ...]
    score: float
    """Mean probability of the tags; 0 without any."""
    model_version: str


class PredictAnswer(ModelVersion):
    """The tags of all photographs."""

    results: tuple[Prediction, ...]
    """One per task, in the order of the request."""


class Project(ForeignRequest):
    """The project of an event."""

    label_config: Config = Field(max_length=1_000_000)


class Region(ForeignRequest):
    """A part of an annotation; only choices are read."""

    from_name: str = ""
    type: str = ""
    value: Mapping[str, Any] = {}


class Annotation(ForeignRequest):
    """What a person says of a photograph."""

    result: tuple[Region, ...] = ()
    was_cancelled: bool | None = False
    """Whether the person skipped the task."""


class WebhookEvent(ForeignRequest):
    """An event of a project."""

    action: str = Field(max_length=200)
    project: Project | None = None
    task: Task | None = None
    annotation: Annotation | None = None


class WebhookAnswer(Schema):
    """What became of an event."""

    status: Literal["calibrated", "ignored"]
    calibration: int | None = None
    """Number of the vocabulary's calibration with the new example."""
