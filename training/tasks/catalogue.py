"""The tasks that a configuration can name, and the functions of each."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sigrl.training.data.check import DataReport
from sigrl.training.data.dataset import DataError, LabelledPhotographs, read_yaml
from sigrl.training.measures.results import Outcome
from sigrl.training.tasks.bundled import recipe as bundled
from sigrl.training.tasks.bundled.config import TrainingConfig
from sigrl.training.tasks.everyday import data as everyday_data
from sigrl.training.tasks.everyday.config import EverydayConfig
from sigrl.training.tasks.everyday.fit import fit_everyday
from sigrl.training.tasks.nuswide import data as nuswide_data
from sigrl.training.tasks.nuswide import run as nuswide
from sigrl.training.tasks.nuswide.prompt_tuning import PromptTuningConfig, fit_prompt
from sigrl.training.tasks.photographs import data as photographs_data
from sigrl.training.tasks.photographs.config import PhotographsConfig
from sigrl.training.tasks.photographs.plan import plan_photographs
from sigrl.training.tasks.photographs.run import fit_photographs
from sigrl.training.tasks.single_positive import data as single_positive_data
from sigrl.training.tasks.single_positive.config import SinglePositiveConfig
from sigrl.training.tasks.single_positive.run import fit_single_positive


@dataclass(frozen=True)
class TaskKind:
    """One value of a configuration's key `task`. `Any` stands for an instance of `config`."""

    config: type[Any]
    """The task's configuration, a pydantic class."""
    fit: Callable[[Any, Path], Outcome]
    """Trains in a directory, or resumes there."""
    check: Callable[[Any], Mapping[str, DataReport]]
    """Checks the data: name of a part -> report."""
    test_photographs: Callable[[Any], LabelledPhotographs]
    """The photographs on which a bundle is evaluated."""
    plan: Callable[[Any, Path], Sequence[str]] | None = None
    """What a run in a directory would take, in sentences; nothing is written."""
    is_distributed: bool = True
    """Whether several processes, as `torchrun` starts them, share the work of `fit`."""
    seed_section: str = "loop"
    """The section of the configuration that contains `seed`, if there is no `seeds`."""


CATALOGUE: dict[str, TaskKind] = {
    "photographs": TaskKind(
        PhotographsConfig,
        fit_photographs,
        photographs_data.check_photographs,
        photographs_data.held_out_photographs,
        plan_photographs,
    ),
    "open_vocabulary": TaskKind(
        nuswide.NusWideConfig,
        nuswide.fit_nuswide,
        nuswide_data.check_nuswide,
        nuswide_data.held_out_photographs,
    ),
    "prompt_tuning": TaskKind(
        PromptTuningConfig, fit_prompt, nuswide_data.check_nuswide, nuswide_data.held_out_photographs
    ),
    "bundled": TaskKind(
        TrainingConfig,
        bundled.fit_bundled,
        bundled.check_bundled,
        bundled.held_out_photographs,
        is_distributed=False,
        seed_section="fit",
    ),
    "everyday": TaskKind(
        EverydayConfig,
        fit_everyday,
        everyday_data.check_everyday,
        everyday_data.held_out_photographs,
        is_distributed=False,
        seed_section="training",
    ),
    "single_positive": TaskKind(
        SinglePositiveConfig,
        fit_single_positive,
        single_positive_data.check_single_positive,
        single_positive_data.held_out_photographs,
    ),
}


@dataclass(frozen=True)
class Run:
    """A task with its configuration."""

    name: str
    kind: TaskKind
    config: Any


def load_run(path: Path, start: Path | None = None, seed: int | None = None) -> Run:
    """Reads a configuration file; `start` and `seed` override the file's own.

    Raises DataError if the file names no task or the task takes no `start`, and pydantic's ValidationError,
    which names the key.
    """
    content = read_yaml(path)
    name = content.get("task") if isinstance(content, dict) else None
    if name not in CATALOGUE:
        problem = f"`task: {name}` is none of" if name is not None else "has no key `task`: add one of"
        raise DataError(f"{path} {problem} {', '.join(CATALOGUE)}")
    kind = CATALOGUE[name]
    if start is not None:
        if "start" not in kind.config.model_fields:
            raise DataError(f"the task {name} of {path} does not start from a bundle: omit --start")
        content["start"] = start
    if seed is not None and "seeds" in kind.config.model_fields:
        content["seeds"] = [seed]
    elif seed is not None:
        content[kind.seed_section] = {**(content.get(kind.seed_section) or {}), "seed": seed}
    return Run(name, kind, kind.config.model_validate(content))
