"""From photographs to an evaluated checkpoint: `init`, `check`, `fit`, `report`, `evaluate`."""

import os
from pathlib import Path
from typing import Annotated

import typer

from sigrl.model.bundle_files import make_files, read_files, write_files
from sigrl.model.torch_engine import TorchEngine
from sigrl.training.commands.common import (
    Config,
    ReportFile,
    console,
    refuse_several_processes,
    write_numbers,
)
from sigrl.training.commands.tables import check_table, evaluation_tables, report_table
from sigrl.training.data.coco import load_coco
from sigrl.training.data.dataset import DataError, read_lines
from sigrl.training.measures.evaluation import evaluate_photographs
from sigrl.training.measures.report import Evaluation
from sigrl.training.report import try_report, write_report
from sigrl.training.tasks.bundled.config import TrainingConfig
from sigrl.training.tasks.bundled.evaluate import Report, evaluate
from sigrl.training.tasks.bundled.recipe import check_new
from sigrl.training.tasks.bundled.supervision import unrelated_names
from sigrl.training.tasks.catalogue import load_run
from sigrl.training.tasks.photographs.run import VOCABULARY
from sigrl.training.tasks.photographs.starter_config import write_starter_config

Start = Annotated[
    Path | None, typer.Option("--start", help="Bundle to start from; overrides the configuration")
]
Seed = Annotated[int | None, typer.Option("--seed", min=0, help="Overrides the configuration")]


def init_command(
    photographs: Annotated[Path, typer.Argument(help="Folder, or shards: 'train-{000..012}.tar'")],
    labels: Annotated[
        Path | None,
        typer.Argument(help="CSV, JSONL or COCO's JSON; by default, sub-folders are labels"),
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="The new configuration")] = Path(
        "sigrl.yaml"
    ),
) -> None:
    """Write a commented configuration for your own photographs, filled in with what was found in them."""
    told = write_starter_config(photographs, labels, output)
    console.print(told, markup=False, highlight=False, soft_wrap=True)


def check_command(config: Config, start: Start = None, report: ReportFile = None) -> None:
    """Check every photograph and label before training; exit with status 1 if there is a problem. Warnings
    are about what can be trained, but is probably not meant."""
    run = load_run(config, start)
    reports = run.kind.check(run.config)
    for name, found in reports.items():
        console.print(check_table(name, found))
        for problems in (found.problems, found.copies):
            for problem in problems[:20]:
                console.print(problem.message, style="red", markup=False, highlight=False, soft_wrap=True)
            if len(problems) > 20:
                console.print(f"… and {len(problems) - 20} more: --report FILE.json lists all")
        for warning in found.warnings:
            text = f"{name}: {warning}"
            console.print(text, style="yellow", markup=False, highlight=False, soft_wrap=True)
    write_numbers(report, reports)
    if any(found.problems or found.copies for found in reports.values()):
        raise typer.Exit(1)


def fit_command(
    config: Config,
    output: Annotated[Path, typer.Option("--output", "-o", help="Directory of the run")],
    start: Start = None,
    seed: Seed = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Only print what it would take: photographs, steps, minutes, disk"),
    ] = False,
) -> None:
    """Train as the configuration says. Run the same command again to resume an interrupted run."""
    run = load_run(config, start, seed)
    if dry_run:
        if run.kind.plan is None:
            raise DataError(f"the task {run.name} does not support --dry-run: only `photographs` does")
        for sentence in run.kind.plan(run.config, output):
            console.print(sentence, highlight=False, soft_wrap=True, markup=False)
        return
    if not run.kind.is_distributed:
        refuse_several_processes(f"`task: {run.name}`")
    outcome = run.kind.fit(run.config, output)
    if os.environ.get("RANK", "0") != "0":
        return
    for name, value in outcome.measured.items():
        console.print(f"{name} {value:.2f}", highlight=False)
    for kind, count in outcome.skipped.items():
        console.print(f"skipped: {kind}, {count}", highlight=False)
    console.print(try_report(output), highlight=False, soft_wrap=True, markup=False)
    if outcome.bundle is not None:
        vocabulary = output / VOCABULARY
        labels = f" SIGRL_VOCABULARY={vocabulary}" if vocabulary.is_file() else ""
        command = f"serve it: SIGRL_CHECKPOINT={outcome.bundle}{labels} sigrl serve"
        console.print(command, highlight=False, soft_wrap=True)


def report_command(
    run: Annotated[Path, typer.Argument(help="Directory of a finished or running run")],
) -> None:
    """Write the page of a run again: `report.html`, one file with curves, labels and photographs."""
    console.print(f"wrote {write_report(run)}", highlight=False, soft_wrap=True, markup=False)


def evaluate_command(
    bundle: Annotated[Path, typer.Argument(help="Bundle to measure")],
    config: Config,
    report: ReportFile = None,
    labels: Annotated[
        Path | None, typer.Option(help="Text file of label names, one a line: measure only these")
    ] = None,
    record: Annotated[
        Path | None, typer.Option(help="Directory for a copy of the bundle with the results in its manifest")
    ] = None,
) -> None:
    """Evaluate a bundle on a task's test photographs, with the engine that serves it."""
    run = load_run(config)
    if record is not None:
        check_new(record)
    # In float32, so that every machine computes the same numbers.
    engine = TorchEngine.load(bundle, precision="float32")
    measured: Report | Evaluation
    if isinstance(run.config, TrainingConfig):
        if labels is not None:
            raise DataError(f"the task {run.name} has its own label sets: omit --labels")
        measured = _measure_bundled(engine, run.config)
        console.print(report_table(measured))
        recorded = measured.recorded()
    else:
        photographs = run.kind.test_photographs(run.config)
        if labels is not None:
            photographs = photographs.select_labels(read_lines(labels))
        measured = evaluate_photographs(engine, photographs)
        console.print(evaluation_tables(measured))
        recorded = measured.model_dump(mode="json", exclude={"best", "worst"})
    write_numbers(report, measured)
    if record is not None:
        source = read_files(bundle)
        provenance = source.manifest.provenance | {"metrics": recorded}
        description = source.manifest.model_copy(update={"provenance": provenance})
        saved = make_files(description, source.contents)
        write_files(record, saved)
        console.print(f"wrote {record} ({saved.checkpoint_id})")


def _measure_bundled(engine: TorchEngine, settings: TrainingConfig) -> Report:
    split = load_coco(settings.data.root, settings.data.test_split)
    distractors = unrelated_names(settings.data, split.label_names)
    return evaluate(engine, split, settings.data.hidden_labels, distractors)
