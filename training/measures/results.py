"""The results of a run beside its bundle: `results.json`, the source of the report page."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from sigrl.training.data.dataset import DataError
from sigrl.training.measures.report import Evaluation

RESULTS = "results.json"


@dataclass(frozen=True)
class Outcome:
    """What a task's `fit` returns."""

    measured: Mapping[str, float]
    """In percent, by name, for instance `zsl/mAP`, on photographs that no choice was based on."""
    best_epoch: int | None
    """Counted from 0; None if no epoch was measured."""
    bundle: Path | None
    """A bundle that can be served, if the task writes one."""
    skipped: Mapping[str, int]
    """Kind of problem -> number of photographs or labels left out because of it."""


class Results(BaseModel):
    """The content of `results.json`."""

    task: str
    measured: dict[str, float]
    best_epoch: int | None = None
    skipped: dict[str, int] = {}
    """Kind of problem -> number of photographs or labels left out because of it."""
    evaluations: dict[str, Evaluation] = {}
    """From `measures.evaluation.evaluate_scores`, by the name of what was measured, for instance `zsl`."""
    configuration: dict[str, Any] = {}
    """The task's configuration, as JSON."""


def write_results(directory: Path, results: Results) -> None:
    """Writes `results.json` into a run's directory."""
    content = json.dumps(results.model_dump(mode="json"), indent=2)
    (directory / RESULTS).write_text(content + "\n", encoding="utf-8")


def read_results(directory: Path) -> Results:
    """Reads what `write_results` wrote. Raises DataError if the directory has no finished run."""
    path = directory / RESULTS
    try:
        return Results.model_validate_json(path.read_bytes())
    except FileNotFoundError as error:
        raise DataError(
            f"{path} does not exist: the run has not finished, resume it with `sigrl-train fit`"
        ) from error
    except ValidationError as error:
        raise DataError(
            f"{path} is not a results file of this version: run `sigrl-train fit` again"
        ) from error
