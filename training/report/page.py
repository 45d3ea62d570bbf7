"""Writes `report.html` of a run's directory."""

import base64
import io
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from sigrl.training.data.dataset import DataError
from sigrl.training.data.opening import open_photograph
from sigrl.training.loop.log import METRICS
from sigrl.training.measures.report import EvaluatedPhotograph, Evaluation
from sigrl.training.measures.results import RESULTS, Results, read_results
from sigrl.training.report.history import History, read_history

REPORT = "report.html"
_PICTURE_SIDE = 320
SHOWN_LABELS = 30
"""Number of best and of worst labels that get a bar. With at most twice as many labels, all get one."""


@dataclass(frozen=True)
class Section:
    """One evaluation on the page."""

    name: str
    evaluation: Evaluation
    calibration: str | None
    """The reliability chart."""
    without_negatives: int
    """Number of labels whose average precision says nothing."""
    photographs: dict[str, list[tuple[EvaluatedPhotograph, str | None]]]
    """Heading -> photographs with their pictures."""


def write_report(directory: Path) -> Path:
    """Writes `report.html` beside `results.json` and `metrics.jsonl`, and returns its path. The page of an
    unfinished run has no results. The page needs no other file and no network.

    Raises DataError if there is no run, or if the extra `report` is not installed.
    """
    if not any((directory / name).is_file() for name in (RESULTS, METRICS)):
        raise DataError(f"{directory} has no run: name a directory that `sigrl-train fit` wrote")
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined

        from sigrl.training.report import charts
    except ModuleNotFoundError as error:
        raise DataError(
            f"{error.name} is not installed: pip install 'sigrl-tagger[report]', then "
            f"`sigrl-train report {shlex.quote(str(directory))}`"
        ) from error
    results = read_results(directory) if (directory / RESULTS).is_file() else None
    history = read_history(directory)
    environment = Environment(
        loader=PackageLoader("sigrl.training.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    best_epoch = None if results is None else results.best_epoch
    curves = {}
    for title, series in (("Loss", history.losses), ("Learning rate", history.learning_rate)):
        if series:
            curves[title] = charts.step_chart(title, series)
    if history.evaluations:
        title = "After each epoch"
        curves[title] = charts.epoch_chart(title, history.evaluations, best_epoch)
    page = environment.get_template("page.html.jinja").render(
        name=directory.resolve().name,
        results=results,
        history=history,
        curves=curves,
        measured={} if results is None else _table(results.measured),
        sections=[] if results is None else [_section(*item) for item in results.evaluations.items()],
        configuration=_configuration(results),
        commands=_commands(directory),
        shown_labels=SHOWN_LABELS,
        epoch_measures=_epoch_measures(history),
    )
    path = directory / REPORT
    path.write_text(page, encoding="utf-8")
    return path


def try_report(directory: Path) -> str:
    """`write_report` at the end of a run, which it must not make fail: returns one line that says where the
    page is, or how to get it."""
    try:
        return f"wrote {write_report(directory)}"
    except DataError as error:
        return f"no report page: {error}"


def _section(name: str, evaluation: Evaluation) -> Section:
    from sigrl.training.report import charts

    calibration = evaluation.calibration
    groups = {"Best photographs": evaluation.best, "Worst photographs": evaluation.worst}
    return Section(
        name=name,
        evaluation=evaluation,
        calibration=calibration and charts.reliability_chart(f"Calibration, {name}", calibration),
        without_negatives=sum(one.positives > 0 and one.negatives == 0 for one in evaluation.per_label),
        photographs={
            heading: [(one, _picture(one.path)) for one in photographs]
            for heading, photographs in groups.items()
            if photographs
        },
    )


def _picture(path: Path) -> str | None:
    """A small JPEG of a photograph as a `data:` URL; None if the file is missing or cannot be read."""
    try:
        small = open_photograph(path)
    except DataError:
        return None
    small.thumbnail((_PICTURE_SIDE, _PICTURE_SIDE))
    file = io.BytesIO()
    small.save(file, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()


def _table(measured: dict[str, float]) -> dict[str, dict[str, float]]:
    """`zsl/mAP` -> row `zsl`, column `mAP`; names without a row come first, in the row ``."""
    rows: dict[str, dict[str, float]] = {"": {}}
    for name, value in measured.items():
        row, _, column = name.rpartition("/")
        rows.setdefault(row, {})[column] = value
    return {row: values for row, values in rows.items() if values}


def _epoch_measures(history: History) -> list[str]:
    return list(dict.fromkeys(name for epoch in history.epochs for name in epoch.measured))


def _configuration(results: Results | None) -> str:
    content: dict[str, Any] = {} if results is None else results.configuration
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True) if content else ""


def _commands(directory: Path) -> list[str]:
    bundle = directory / "bundle"
    if not bundle.is_dir():
        return []
    path = shlex.quote(str(bundle))
    return [f"SIGRL_CHECKPOINT={path} sigrl serve", f"sigrl tag PHOTOGRAPH.jpg --checkpoint {path}"]
